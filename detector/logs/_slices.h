/* What lies at slices of documents: texts, which are alike, hashes, numbers. A slice tells a place in all documents as if
   they were one, one after the other.

   Rules of this file
   - Nothing is read that is not inside of one document, whatever a slice says.
   - Documents are a tuple of bytes, which cannot change meanwhile.
*/
#include "_kernel.h"

enum { EXACT = 15 }; /* digits of a number that is exact as it is */

/* Documents as if they were one: of that, [starts[i], starts[i + 1]) is the i-th. last: where one was looked for last. */
typedef struct {
    Py_ssize_t count, last;
    Place *at;
    int64_t *starts;
} Documents;

static void release_documents(Documents *d) {
    free(d->at);
    free(d->starts);
}

/* The documents in a tuple of bytes; 0 and an exception if it is none. They are to be released even then. */
static int take_documents(PyObject *given, Documents *d) {
    *d = (Documents){0};
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "expected a tuple of bytes");
        return 0;
    }
    d->count = PyTuple_Size(given);
    d->at = malloc((size_t)(d->count + 1) * sizeof *d->at);
    d->starts = calloc((size_t)d->count + 1, sizeof *d->starts);
    int done = d->at && d->starts;
    if (!done) PyErr_NoMemory();
    for (Py_ssize_t i = 0; done && i < d->count; i++) {
        char *text;
        Py_ssize_t size;
        done = !PyBytes_AsStringAndSize(PyTuple_GetItem(given, i), &text, &size);
        if (!done) break;
        d->at[i] = (Place)text;
        d->starts[i + 1] = d->starts[i] + size;
    }
    return done;
}

/* What lies at a slice; 0 if it is not inside of one document. */
static int lying(Documents *d, Slice slice, Piece *piece) {
    int64_t start = slice.start, stop = llabs((long long)slice.stop);
    *piece = (Piece){NULL, 0};
    if (start < 0) return 1;
    while (d->last > 0 && start < d->starts[d->last]) d->last--;
    while (d->last + 1 < d->count && start >= d->starts[d->last + 1]) d->last++;
    if (!d->count || stop < start || stop > d->starts[d->last + 1]) return 0;
    *piece = (Piece){d->at[d->last] + (start - d->starts[d->last]), stop - start};
    return 1;
}

static int outside(void) {
    PyErr_SetString(PyExc_ValueError, "a slice ends behind its document");
    return 0;
}

static int unfit(void) {
    PyErr_SetString(PyExc_ValueError, "the buffers do not fit together");
    return 0;
}

/* Whether no column has more codes than there are rows. */
static int counted(const int32_t *counts, Py_ssize_t columns, int64_t rows) {
    for (Py_ssize_t c = 0; c < columns; c++)
        if (counts[c] < 0 || counts[c] > rows) return 0;
    return 1;
}

/* One code for each text of a column, where every document had codes of its own; 0 if that cannot be. firsts: by code the
   row where it came first. known: room for as many codes. */
static int joined(Documents *d, const Slice *slices, int64_t rows, const Table *table, int32_t *codes, int32_t *firsts,
                  int32_t *count, int32_t *known) {
    int32_t *code = known, *first = known + *count;
    for (int32_t i = 0; i < *count; i++)
        if (firsts[i] < 0 || firsts[i] >= rows || !lying(d, slices[firsts[i]], &table->pieces[i])) return 0;
    int32_t distinct = encode(table, *count, code, first);
    if (distinct == *count) return 1;
    for (int64_t row = 0; row < rows; row++)
        if ((uint32_t)codes[row] < (uint32_t)*count) codes[row] = code[codes[row]];
    *count = distinct;
    for (int32_t i = 0; i < distinct; i++) firsts[i] = firsts[first[i]];
    return 1;
}

PyDoc_STRVAR(join_doc,
"join(documents, slices, rows, room, seed, codes, firsts, counts)\n\n"
"Where every document had codes of its own, one for each text of a column, in order of first appearance.");

static PyObject *py_join(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *given;
    Py_buffer slices, codes, firsts, counts;
    long long rows, room;
    unsigned long long seed;
    if (!PyArg_ParseTuple(arguments, "Oy*LLKw*w*w*", &given, &slices, &rows, &room, &seed, &codes, &firsts, &counts)) return NULL;
    Documents documents;
    Table table = {0};
    int32_t *known = NULL;
    Py_ssize_t columns = counts.len / 4;
    int done = take_documents(given, &documents);
    if (done && (rows < 0 || rows > room || room > INT32_MAX || slices.len < room * columns * (Py_ssize_t)sizeof(Slice) ||
                 codes.len < room * columns * 4 || firsts.len < room * columns * 4 || !counted(counts.buf, columns, rows)))
        done = unfit();
    if (done && !((known = malloc((size_t)(2 * rows + 1) * sizeof *known)) && prepare_table(&table, rows, seed))) {
        PyErr_NoMemory();
        done = 0;
    }
    for (Py_ssize_t c = 0; done && c < columns; c++) {
        int32_t *count = (int32_t *)counts.buf + c;
        if (*count && !joined(&documents, (Slice *)slices.buf + c * room, rows, &table, (int32_t *)codes.buf + c * room,
                              (int32_t *)firsts.buf + c * room, count, known))
            done = outside();
    }
    free(known);
    release_table(&table);
    release_documents(&documents);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&firsts);
    PyBuffer_Release(&counts);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(texts_doc,
"texts(documents, slices, as_bytes) -> list\n\n"
"The texts (str, or bytes) that lie at these slices; None where there is none, or where a text has escapes in it.");

static PyObject *py_texts(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *given, *list = NULL;
    Py_buffer buffer;
    int as_bytes;
    if (!PyArg_ParseTuple(arguments, "Oy*p", &given, &buffer, &as_bytes)) return NULL;
    const Slice *slices = buffer.buf;
    Py_ssize_t count = buffer.len / (Py_ssize_t)sizeof(Slice);
    Documents documents;
    if (take_documents(given, &documents)) list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        Piece one;
        PyObject *item = NULL;
        if (!lying(&documents, slices[i], &one))
            outside();
        else if (!one.at || slices[i].stop < 0)
            item = Py_NewRef(Py_None);
        else
            item = as_bytes ? PyBytes_FromStringAndSize((const char *)one.at, one.length)
                            : PyUnicode_DecodeUTF8((const char *)one.at, one.length, "strict");
        if (!item || PyList_SetItem(list, i, item)) Py_CLEAR(list);
    }
    release_documents(&documents);
    PyBuffer_Release(&buffer);
    return list;
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): whoever does not know the key can make no two
   texts that hash alike. */
#define SIP_ROUND                                                              \
    do {                                                                       \
        a += b, b = rotated(b, 13) ^ a, a = rotated(a, 32);                    \
        c += d, d = rotated(d, 16) ^ c;                                        \
        a += d, d = rotated(d, 21) ^ a;                                        \
        c += b, b = rotated(b, 17) ^ c, c = rotated(c, 32);                    \
    } while (0)

static uint64_t siphash(const uint8_t *at, int64_t length, const uint64_t key[2]) {
    uint64_t a = key[0] ^ 0x736f6d6570736575ULL, b = key[1] ^ 0x646f72616e646f6dULL;
    uint64_t c = key[0] ^ 0x6c7967656e657261ULL, d = key[1] ^ 0x7465646279746573ULL;
    uint64_t last = (uint64_t)length << 56;
    const uint8_t *end = at + length;
    for (; end - at >= 8; at += 8) {
        uint64_t word = word64(at);
        d ^= word;
        SIP_ROUND;
        a ^= word;
    }
    for (int i = 0; i < end - at; i++) last |= (uint64_t)at[i] << 8 * i;
    d ^= last;
    SIP_ROUND;
    a ^= last;
    c ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return a ^ b ^ c ^ d;
}

PyDoc_STRVAR(hashes_doc,
"hashes(documents, slices, key, hashes)\n\n"
"Fill in the keyed hash (SipHash-1-3) of what lies at each of these slices, which are there and without escapes. key:\n"
"16 bytes.");

static PyObject *py_hashes(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *given;
    Py_buffer slices, key, hashes;
    if (!PyArg_ParseTuple(arguments, "Oy*y*w*", &given, &slices, &key, &hashes)) return NULL;
    Py_ssize_t count = slices.len / (Py_ssize_t)sizeof(Slice);
    uint64_t secret[2];
    Documents documents;
    int done = take_documents(given, &documents);
    if (done && (key.len != sizeof secret || hashes.len < count * 8)) done = unfit();
    if (done) memcpy(secret, key.buf, sizeof secret);
    for (Py_ssize_t i = 0; done && i < count; i++) {
        Piece one;
        if (!lying(&documents, ((Slice *)slices.buf)[i], &one) || !one.at) done = outside();
        else ((uint64_t *)hashes.buf)[i] = siphash(one.at, one.length, secret);
    }
    release_documents(&documents);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&key);
    PyBuffer_Release(&hashes);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(rest_doc,
"rest(documents, slices, codes, prefixes, ends, rest, hashes)\n\n"
"Fill in where, of each text, that lies which follows the prefix of its code, and the hash of that; no place and 0 where\n"
"a text does not begin so, has nothing after it, has escapes in it, or its prefix is empty. prefixes: one after the other,\n"
"`ends` says where each one ends.");

static PyObject *py_rest(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *given;
    Py_buffer slices, codes, prefixes, ends, rest, hashes;
    if (!PyArg_ParseTuple(arguments, "Oy*y*y*y*w*w*", &given, &slices, &codes, &prefixes, &ends, &rest, &hashes)) return NULL;
    Py_ssize_t rows = slices.len / (Py_ssize_t)sizeof(Slice);
    const int32_t *end = ends.buf, *code = codes.buf;
    int32_t count = (int32_t)(ends.len / 4), from = 0;
    Documents documents;
    int done = take_documents(given, &documents);
    if (done && (codes.len < rows * 4 || rest.len < rows * (Py_ssize_t)sizeof(Slice) || hashes.len < rows * 8)) done = unfit();
    for (int32_t i = 0; done && i < count; from = end[i++])
        if (end[i] < from || end[i] > prefixes.len) done = unfit();
    for (Py_ssize_t row = 0; done && row < rows; row++) {
        Slice slice = ((Slice *)slices.buf)[row];
        Piece text, prefix = {NULL, 0};
        if (code[row] >= count || !lying(&documents, slice, &text)) {
            done = outside();
            break;
        }
        if (code[row] >= 0) {
            from = code[row] ? end[code[row] - 1] : 0;
            prefix = (Piece){(Place)prefixes.buf + from, end[code[row]] - from};
        }
        int begins = text.at && slice.stop > 0 && prefix.length && text.length > prefix.length &&
                     !memcmp(text.at, prefix.at, (size_t)prefix.length);
        ((Slice *)rest.buf)[row] = begins ? (Slice){slice.start + (int32_t)prefix.length, slice.stop} : (Slice){-1, -1};
        ((uint64_t *)hashes.buf)[row] = begins ? xxh64(text.at + prefix.length, text.length - prefix.length, 0) : 0;
    }
    release_documents(&documents);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&prefixes);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&rest);
    PyBuffer_Release(&hashes);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(numbers_doc,
"numbers(documents, slices, numbers) -> bool\n\n"
"Fill in the numbers that lie there, NaN where there is none; False if there are others than whole ones of 15 digits at\n"
"most, which are exact.");

static PyObject *py_numbers(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *given;
    Py_buffer slices, numbers;
    if (!PyArg_ParseTuple(arguments, "Oy*w*", &given, &slices, &numbers)) return NULL;
    Py_ssize_t rows = slices.len / (Py_ssize_t)sizeof(Slice);
    int plain = 1;
    Documents documents;
    int done = take_documents(given, &documents);
    if (done && numbers.len < rows * 8) done = unfit();
    for (Py_ssize_t row = 0; done && plain && row < rows; row++) {
        Piece one;
        if (!lying(&documents, ((Slice *)slices.buf)[row], &one)) {
            done = outside();
            break;
        }
        int64_t number = !one.at ? 0 : one.length > 0 && one.length <= EXACT ? digits_of(one.at, (int)one.length) : -1;
        ((double *)numbers.buf)[row] = one.at ? (double)number : Py_NAN;
        plain = number >= 0;
    }
    release_documents(&documents);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&numbers);
    return done ? PyBool_FromLong(plain) : NULL;
}
