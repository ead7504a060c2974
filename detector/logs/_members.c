/* CloudTrail JSON → where the wanted members of every record lie, and which of them are alike.

   The kernel behind `members.py`, which says what goes in and what comes out; without it the same is done, slower, by
   decoding every record into Python objects.

   Rules of this file
   - It reads what is ordinary. Whatever is in any way odd (broken JSON, a wanted member of another type, an escaped
     name, a record too long or too deep) makes it return ODD, and the whole document is read in Python.
   - It accepts no text that is no JSON. Texts are checked for control characters and escapes here, for UTF-8 by the
     caller.
   - It reads within [0, size) and writes within the buffers it was given; it keeps nothing. All loops are bounded by
     `size`, recursion by `nesting`.
*/
#include "_kernel.h"

enum { ODD = -1, FULL = -2 };                                  /* FULL: more records than there is room for */
enum { OBJECT, TEXT, RAW, NUMBER, ARRAY };                     /* kinds of a member */
enum { FORM_FILE, FORM_ARRAY, FORM_LINES };                    /* {"Records": […]}, […], one object a line */
enum { HASH = 2, TIME = 4 };                                   /* what is asked of a column, besides ENCODE */
enum { DEEPEST = 512 };

/* A member that is looked for. The children of a member follow one another. For the elements of an array `key_length`
   is the index. column: -1 for objects; an array's column holds its length. */
typedef struct {
    int32_t kind, key_at, key_length, column, first_child, children;
} Member;

typedef struct {
    const uint8_t *data, *end;
    const Member *members;
    int32_t member_count, columns;
    const uint8_t *keys;
    Slice *slices; /* of column c, row r: slices[c * room + r] */
    int64_t room, row;
    int32_t nesting;
    int64_t longest;
} Walk;

/* ---- JSON: each function reads on from `at`, and returns where it ended, or NULL if it did not find what it should ---- */

static inline Place space(Place at, Place end) {
    while (at < end && *at <= ' ') {
        if (*at != ' ' && *at != '\n' && *at != '\r' && *at != '\t') break;
        at++;
    }
    return at;
}

static inline int is_hex(uint8_t c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

static inline int is_digit(Place at, Place end) { return at < end && *at >= '0' && *at <= '9'; }

/* The next quote, backslash or control character; `end` if there is none. */
static inline Place end_of_run(Place at, Place end) {
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (; end - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)at);
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash)),
                                   _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        int mask = _mm_movemask_epi8(hit);
        if (mask) return at + __builtin_ctz((unsigned)mask);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20) at++;
    return at;
}

/* A text with a backslash at `at`: after its closing quote. */
static Place escaped_text(Place at, Place end) {
    while (at < end && *at != '"') {
        if (*at != '\\') return NULL; /* a control character */
        int64_t length = end - at >= 2 && at[1] == 'u' ? 6 : 2;
        if (end - at < length || !memchr("\"\\/bfnrtu", at[1], 9)) return NULL;
        for (int i = 2; i < length; i++)
            if (!is_hex(at[i])) return NULL;
        at = end_of_run(at + length, end);
    }
    return at < end ? at + 1 : NULL;
}

/* From after an opening quote to after the closing one. escaped: whether there is a backslash in between. */
static inline Place text(Place at, Place end, int *escaped) {
    at = end_of_run(at, end);
    *escaped = at < end && *at != '"';
    if (!*escaped) return at < end ? at + 1 : NULL;
    return escaped_text(at, end);
}

static Place digits(Place at, Place end) {
    if (!is_digit(at, end)) return NULL;
    while (is_digit(at, end)) at++;
    return at;
}

static Place number(Place at, Place end) {
    if (at < end && *at == '-') at++;
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at && at < end && *at == '.') at = digits(at + 1, end);
    if (at && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        at = digits(at, end);
    }
    return at;
}

static Place word(Place at, Place end, const char *expected, int length) {
    return end - at < length || memcmp(at, expected, (size_t)length) ? NULL : at + length;
}

/* From after a member's opening quote to its value. */
static inline Place to_value(Place at, Place end) {
    at = space(at, end);
    return at < end && *at == ':' ? space(at + 1, end) : NULL;
}

/* From after a member or an element to the next one, or after `closing`; `more` tells which. */
static inline Place to_next(Place at, Place end, char closing, int *more) {
    at = space(at, end);
    if (at >= end) return NULL;
    *more = *at == ',';
    return *more ? space(at + 1, end) : *at == closing ? at + 1 : NULL;
}

/* Any value. left: how many levels it may have. */
static Place value(Place at, Place end, int32_t left) {
    int more, escaped;
    if (at >= end) return NULL;
    switch (*at) {
    case '"':
        return text(at + 1, end, &escaped);
    case '{':
        if (left <= 0) return NULL;
        at = space(at + 1, end);
        if (at < end && *at == '}') return at + 1;
        do {
            if (at >= end || *at != '"') return NULL;
            at = text(at + 1, end, &escaped);
            if (!at || !(at = to_value(at, end)) || at >= end) return NULL;
            at = *at == '"' ? text(at + 1, end, &escaped) : value(at, end, left - 1);
            if (!at || !(at = to_next(at, end, '}', &more))) return NULL;
        } while (more);
        return at;
    case '[':
        if (left <= 0) return NULL;
        at = space(at + 1, end);
        if (at < end && *at == ']') return at + 1;
        do {
            if (!(at = value(at, end, left - 1)) || !(at = to_next(at, end, ']', &more))) return NULL;
        } while (more);
        return at;
    case 't':
        return word(at, end, "true", 4);
    case 'f':
        return word(at, end, "false", 5);
    case 'n':
        return word(at, end, "null", 4);
    default:
        return number(at, end);
    }
}

/* ---- wanted members ---- */

static inline void put(Walk *w, const Member *member, int64_t start, int64_t stop) {
    Slice *slice = &w->slices[member->column * w->room + w->row];
    slice->start = (int32_t)start;
    slice->stop = (int32_t)stop;
}

/* A member, and all below it, is not there: of a name that comes twice the last counts. */
static void forget(Walk *w, const Member *member) {
    if (member->column >= 0) put(w, member, -1, -1);
    for (int32_t i = 0; i < member->children; i++) forget(w, &w->members[member->first_child + i]);
}

/* One of 64 marks of a name: most names that nobody wants have a mark that no wanted one has. */
static inline uint64_t mark(Place name, int64_t length) {
    return length ? 1ULL << ((length ^ name[0] * 5 ^ name[length - 1] * 11) & 63) : 1;
}

/* The member of this name. marks: of all children; hint: which of them is expected. */
static inline const Member *called(const Walk *w, const Member *member, uint64_t marks, Place key, int64_t length,
                                   int32_t *hint) {
    const Member *children = w->members + member->first_child;
    if (!(marks & mark(key, length))) return NULL;
    for (int32_t i = *hint; i < member->children + *hint; i++) {
        const Member *child = &children[i < member->children ? i : i - member->children];
        if (child->key_length == length && !memcmp(w->keys + child->key_at, key, (size_t)length)) {
            *hint = (int32_t)(child - children) + 1;
            return child;
        }
    }
    return NULL;
}

static Place wanted(Walk *w, const Member *member, Place at, int32_t left);

static Place object(Walk *w, const Member *member, Place at, int32_t left) {
    Place end = w->end;
    uint64_t marks = 0;
    int32_t hint = 0;
    int more, escaped;
    if (left <= 0 || at >= end || *at != '{') return NULL;
    for (const Member *child = w->members + member->first_child, *last = child + member->children; child < last; child++)
        marks |= mark(w->keys + child->key_at, child->key_length);
    at = space(at + 1, end);
    if (at < end && *at == '}') return at + 1;
    do {
        if (at >= end || *at != '"') return NULL;
        Place key = at + 1;
        at = text(key, end, &escaped);
        if (!at || escaped) return NULL; /* an escaped name may be any */
        const Member *child = called(w, member, marks, key, at - 1 - key, &hint);
        if (!(at = to_value(at, end))) return NULL;
        at = child ? wanted(w, child, at, left - 1) : value(at, end, left - 1);
        if (!at || !(at = to_next(at, end, '}', &more))) return NULL;
    } while (more);
    return at;
}

static Place array(Walk *w, const Member *member, Place at, int32_t left) {
    Place end = w->end;
    int64_t length = 0;
    int more = 1;
    if (left <= 0 || at >= end || *at != '[') return NULL;
    at = space(at + 1, end);
    if (at < end && *at == ']') {
        more = 0;
        at++;
    }
    while (more) {
        if (at >= end || *at != '{') return NULL;
        at = length < member->children ? wanted(w, &w->members[member->first_child + length], at, left - 1)
                                       : value(at, end, left - 1);
        if (!at || !(at = to_next(at, end, ']', &more))) return NULL;
        length++;
    }
    put(w, member, length, length);
    return at;
}

/* A value that is looked for. */
static Place wanted(Walk *w, const Member *member, Place at, int32_t left) {
    Place start = at, end = w->end;
    int escaped;
    if (at >= end) return NULL;
    if (member->children || *at == 'n') forget(w, member);
    if (*at == 'n') return word(at, end, "null", 4);
    switch (member->kind) {
    case OBJECT:
        return object(w, member, at, left);
    case ARRAY:
        return array(w, member, at, left);
    case TEXT:
        if (*at != '"' || !(at = text(at + 1, end, &escaped))) return NULL;
        put(w, member, start + 1 - w->data, escaped ? -(at - 1 - w->data) : at - 1 - w->data);
        return at;
    case NUMBER:
        at = number(at, end);
        break;
    default:
        at = value(at, end, left);
    }
    if (at) put(w, member, start - w->data, at - w->data);
    return at;
}

/* One record; the first member is the record itself. */
static Place record(Walk *w, Place at) {
    Place start = at;
    forget(w, w->members);
    at = object(w, w->members, at, w->nesting);
    if (!at || at - start > w->longest) return NULL;
    put(w, w->members, start - w->data, at - w->data);
    w->row++;
    return at;
}

/* The whole document: how many records it has, ODD or FULL. */
static int64_t records(Walk *w, int form) {
    Place end = w->end, at = space(w->data, end);
    int more = 1, escaped;
    if (form == FORM_FILE) {
        if (at >= end || *at != '{') return ODD;
        at = space(at + 1, end);
        if (end - at < 9 || memcmp(at, "\"Records\"", 9) || !(at = text(at + 1, end, &escaped))) return ODD;
        if (!(at = to_value(at, end))) return ODD;
    }
    if (form != FORM_LINES) {
        if (at >= end || *at != '[') return ODD;
        at = space(at + 1, end);
        if (at < end && *at == ']') {
            more = 0;
            at++;
        }
    }
    while (more && at < end) {
        if (w->row >= w->room) return FULL;
        if (!(at = record(w, at))) return ODD;
        if (form == FORM_LINES) {
            while (at < end && (*at == ' ' || *at == '\r' || *at == '\t')) at++;
            if (at < end && *at != '\n') return ODD;
            at = space(at, end);
        } else if (!(at = to_next(at, end, ']', &more))) {
            return ODD;
        }
    }
    if (form != FORM_LINES && more) return ODD;
    at = space(at, end);
    if (form == FORM_FILE) {
        if (at >= end || *at != '}') return ODD;
        at = space(at + 1, end);
    }
    return at >= end ? w->row : ODD;
}

/* ---- columns ---- */

/* Epoch seconds of "2026-05-01T09:00:00Z"; -1 for any other text. */
static int64_t epoch(Place at, int64_t length) {
    if (length != 20 || at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':' || at[19] != 'Z')
        return -1;
    int64_t year = digits_of(at, 4);
    if (year < 1970 || year > 2199) return -1;
    int64_t seconds = seconds_of(year, digits_of(at + 5, 2), digits_of(at + 8, 2), digits_of(at + 11, 2),
                                 digits_of(at + 14, 2), digits_of(at + 17, 2));
    return seconds == NO_TIME ? -1 : seconds;
}

static int columns(const Walk *w, const uint8_t *asked, uint64_t seed, int32_t *codes, int32_t *firsts,
                   int32_t *counts, uint64_t *hashes, int64_t *times) {
    Table table = table_for(w->row, seed);
    if (!table.codes) return 0;
    for (int32_t c = 0; c < w->columns; c++) {
        const Slice *slices = w->slices + c * w->room;
        if (asked[c] & ENCODE) {
            counts[c] = encode(w->data, slices, w->row, &table, codes + c * w->room, firsts + c * w->room);
        }
        if (asked[c] & HASH)
            for (int64_t row = 0; row < w->row; row++)
                hashes[row] = slices[row].start < 0 ? 0 : xxh64(w->data + slices[row].start, length_of(slices[row]), 0);
        if (asked[c] & TIME)
            for (int64_t row = 0; row < w->row; row++)
                times[row] = slices[row].start < 0 ? -1 : epoch(w->data + slices[row].start, length_of(slices[row]));
    }
    free(table.codes);
    return 1;
}

/* ---- Python ---- */

static int fits(const Walk *w, const Py_buffer *members, const Py_buffer *keys, const Py_buffer *asked) {
    if (w->end - w->data > INT32_MAX || w->nesting > DEEPEST || w->member_count < 1 || w->room > INT32_MAX) return 0;
    if (members->len % (Py_ssize_t)sizeof(Member) || w->members[0].column < 0) return 0;
    for (int32_t i = 0; i < w->member_count; i++) {
        const Member *m = &w->members[i];
        if (m->column < -1 || m->column >= asked->len || (m->column < 0 && m->kind != OBJECT)) return 0;
        if (m->children < 0 || (m->children && (m->first_child <= i || m->first_child + m->children > w->member_count)))
            return 0;
        if (m->key_length < 0 || m->key_at < 0 || (int64_t)m->key_at + m->key_length > keys->len) return 0;
    }
    return 1;
}

PyDoc_STRVAR(read_doc,
"read(data, form, members, keys, asked, nesting, longest, seed, room, slices, codes, firsts, counts, hashes, times) -> int\n\n"
"How many records there are; -1: the document is odd, -2: there is no room for all. See members.py.");

static PyObject *py_read(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer data, members, keys, asked, slices, codes, firsts, counts, hashes, times;
    int form;
    Walk w = {0};
    long long longest, room;
    unsigned long long seed;
    if (!PyArg_ParseTuple(arguments, "y*iy*y*y*iLKLw*w*w*w*w*w*", &data, &form, &members, &keys, &asked, &w.nesting,
                          &longest, &seed, &room, &slices, &codes, &firsts, &counts, &hashes, &times))
        return NULL;
    int64_t found = ODD;
    int done = 1;
    w.data = data.buf;
    w.end = w.data + data.len;
    w.members = members.buf;
    w.member_count = (int32_t)(members.len / (Py_ssize_t)sizeof(Member));
    w.columns = (int32_t)asked.len;
    w.keys = keys.buf;
    w.slices = slices.buf;
    w.room = room;
    w.longest = longest;
    int64_t cells = room * asked.len;
    if (room < 0 || !fits(&w, &members, &keys, &asked) || slices.len < cells * (Py_ssize_t)sizeof(Slice) ||
        codes.len < cells * 4 || firsts.len < cells * 4 || counts.len < asked.len * 4 || hashes.len < room * 8 || times.len < room * 8) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not fit together");
        done = 0;
    } else {
        Py_BEGIN_ALLOW_THREADS
        found = records(&w, form);
        if (found > 0) done = columns(&w, asked.buf, seed, codes.buf, firsts.buf, counts.buf, hashes.buf, times.buf);
        Py_END_ALLOW_THREADS
        if (!done) PyErr_NoMemory();
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&members);
    PyBuffer_Release(&keys);
    PyBuffer_Release(&asked);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&firsts);
    PyBuffer_Release(&counts);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&times);
    return done ? PyLong_FromLongLong(found) : NULL;
}

PyDoc_STRVAR(texts_doc,
"texts(data, slices, as_bytes) -> list\n\n"
"The texts (str, or bytes) that lie at these slices; None where there is none, or where a text has escapes in it.");

static PyObject *py_texts(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer data, buffer;
    int as_bytes;
    if (!PyArg_ParseTuple(arguments, "y*y*p", &data, &buffer, &as_bytes)) return NULL;
    const Slice *slices = buffer.buf;
    Py_ssize_t count = buffer.len / (Py_ssize_t)sizeof(Slice);
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        Slice one = slices[i];
        PyObject *item;
        if (one.start < 0 || one.stop < one.start) {
            item = Py_NewRef(Py_None);
        } else if (one.stop > data.len) {
            PyErr_SetString(PyExc_ValueError, "a slice ends behind the document");
            item = NULL;
        } else {
            const char *at = (const char *)data.buf + one.start;
            item = as_bytes ? PyBytes_FromStringAndSize(at, one.stop - one.start)
                            : PyUnicode_DecodeUTF8(at, one.stop - one.start, "strict");
        }
        if (!item || PyList_SetItem(list, i, item)) Py_CLEAR(list);
    }
    PyBuffer_Release(&data);
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
"hashes(data, slices, key, hashes)\n\n"
"Fill in the keyed hash (SipHash-1-3) of what lies at each of these slices, which are there and without escapes. key:\n"
"16 bytes.");

static PyObject *py_hashes(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer data, slices, key, hashes;
    if (!PyArg_ParseTuple(arguments, "y*y*y*w*", &data, &slices, &key, &hashes)) return NULL;
    const Slice *at = slices.buf;
    Py_ssize_t count = slices.len / (Py_ssize_t)sizeof(Slice), i = 0;
    uint64_t secret[2];
    if (key.len == sizeof secret && hashes.len >= count * 8) {
        memcpy(secret, key.buf, sizeof secret);
        for (; i < count && at[i].start >= 0 && at[i].start <= at[i].stop && at[i].stop <= data.len; i++)
            ((uint64_t *)hashes.buf)[i] = siphash((const uint8_t *)data.buf + at[i].start, length_of(at[i]), secret);
    } else {
        i = -1;
    }
    if (i < count) PyErr_SetString(PyExc_ValueError, "the buffers do not fit together");
    PyBuffer_Release(&data);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&key);
    PyBuffer_Release(&hashes);
    return i < count ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"read", py_read, METH_VARARGS, read_doc},
    {"texts", py_texts, METH_VARARGS, texts_doc},
    {"hashes", py_hashes, METH_VARARGS, hashes_doc},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_members", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__members(void) { return PyModule_Create(&module); }
