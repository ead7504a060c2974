/* CloudTrail JSON → where the wanted members of every record lie, and which of them are alike.

   The kernel behind `members.py`, which says what goes in and what comes out; without it the same is done, slower, by
   decoding every record into Python objects.

   Rules of this file
   - It reads what is ordinary. Whatever is in any way odd (broken JSON, a wanted member of another type, an escaped
     name, a record too long or too deep) makes it return ODD, and the whole document is read in Python.
   - It accepts no text that is no JSON. Texts are checked for control characters and escapes here, for UTF-8 by the
     caller.
   - It reads within the document and writes within the buffers it was given; it keeps nothing. All loops are bounded by
     the document's size, recursion by `nesting`.
   - Several documents are told apart by nothing but where they lie: as if they were one, one after the other.
*/
#include "_alike.h"
#include "_slices.h"

enum { ODD = -1, FULL = -2 };                                  /* FULL: more records than there is room for */
enum { OBJECT, TEXT, RAW, NUMBER, ARRAY };                     /* kinds of a member */
enum { FORM_FILE, FORM_ARRAY, FORM_LINES };                    /* {"Records": […]}, […], one object a line */
enum { HASH = 2, TIME = 4 };                                   /* what is asked of a column, besides ENCODE */
enum { DEEPEST = 512, PATTERNS = 4, HOPE = 16 };

/* A member that is looked for. The children of a member follow one another. For the elements of an array `key_length`
   is the index. column: -1 for objects; an array's column holds its length. */
typedef struct {
    int32_t kind, key_at, key_length, column, first_child, children;
} Member;

/* patterns: the ways in which records were written lately, the last first: what is read in full is noted there. hope: that
   the next record is alike to one of them; where hardly any is, few are tried. base: bytes of the documents before. */
typedef struct {
    Json json;
    int32_t hope;
    Pattern *patterns[PATTERNS];
    int32_t shifts[MOST_TOKENS + 1];
    const Member *members;
    int32_t member_count, columns;
    const uint8_t *keys;
    Slice *slices; /* of column c, row r: slices[c * room + r] */
    int64_t room, row;
    int32_t nesting, base;
    int64_t longest;
} Walk;

/* ---- wanted members ---- */

/* From start to stop, now that so many tokens are read; `before` of them come before. */
static inline Span span(const Json *j, Place start, Place stop, int32_t before) {
    return (Span){(int32_t)(start - j->data), (int32_t)(stop - j->data), before, j->count};
}

/* The span of a column in this record, so much further on than in its pattern, as it lies among all documents. */
static inline Slice placed(const Walk *w, Span span, int32_t before, int32_t after) {
    if (span.from < 0) return (Slice){span.start, span.stop}; /* no place: a length, or nothing */
    before += w->base;
    after += w->base;
    return (Slice){span.start + before, span.stop < 0 ? span.stop - after : span.stop + after};
}

static inline void put(Walk *w, const Member *member, Span span) {
    w->slices[member->column * w->room + w->row] = placed(w, span, 0, 0);
    w->patterns[0]->spans[member->column] = span;
}

/* A member, and all below it, is not there: of a name that comes twice the last counts. */
static void forget(Walk *w, const Member *member) {
    if (member->column >= 0) put(w, member, (Span){-1, -1, -1, -1});
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
    Place end = w->json.end;
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
        at = child ? wanted(w, child, at, left - 1) : value(&w->json, at, left - 1);
        if (!at || !(at = to_next(at, end, '}', &more))) return NULL;
    } while (more);
    return at;
}

static Place array(Walk *w, const Member *member, Place at, int32_t left) {
    Place end = w->json.end;
    int32_t length = 0;
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
                                       : value(&w->json, at, left - 1);
        if (!at || !(at = to_next(at, end, ']', &more))) return NULL;
        length++;
    }
    put(w, member, (Span){length, length, -1, -1});
    return at;
}

/* A value that is looked for. */
static Place wanted(Walk *w, const Member *member, Place at, int32_t left) {
    Json *j = &w->json;
    Place start = at;
    int32_t before = j->count;
    int escaped;
    if (at >= j->end) return NULL;
    if (member->children || *at == 'n') forget(w, member);
    if (*at == 'n') return word(at, j->end, "null", 4);
    switch (member->kind) {
    case OBJECT:
        return object(w, member, at, left);
    case ARRAY:
        return array(w, member, at, left);
    case TEXT:
        if (*at != '"' || !(at = content(j, at + 1, &escaped))) return NULL;
        Span where = span(j, start + 1, at - 1, before);
        if (escaped) where.stop = -where.stop, w->patterns[0]->plain = 0;
        put(w, member, where);
        return at;
    case NUMBER:
        at = amount(j, at);
        break;
    default:
        at = value(j, at, left);
    }
    if (at) put(w, member, span(j, start, at, before));
    return at;
}

/* A record, read in full and noted as the first pattern; the first member is the record itself. */
static Place learned(Walk *w, Place at) {
    Json *j = &w->json;
    Pattern *p = w->patterns[0];
    Place start = at;
    j->tokens = p->tokens;
    j->count = p->varying = 0;
    p->plain = 1;
    forget(w, w->members);
    if (!(at = object(w, w->members, at, w->nesting))) return NULL;
    put(w, w->members, span(j, start, at, 0));
    p->start = (int32_t)(start - j->data);
    p->stop = (int32_t)(at - j->data);
    p->count = j->count;
    p->plain &= j->count <= MOST_TOKENS;
    return at;
}

/* A record that is alike to a pattern, which becomes the first; NULL for any other, and the first is the one to give up. */
static Place recognized(Walk *w, Place at) {
    Place stop = NULL;
    int32_t i = w->hope > 0 || w->row % HOPE == 0 ? 0 : PATTERNS;
    while (i < PATTERNS && !(stop = alike(&w->json, w->patterns[i], at, w->shifts))) i++;
    w->hope += stop ? 2 * (w->hope < HOPE) : -(w->hope > 0);
    if (!stop) i = PATTERNS - 1;
    Pattern *p = w->patterns[i];
    memmove(w->patterns + 1, w->patterns, (size_t)i * sizeof p);
    w->patterns[0] = p;
    for (int32_t c = 0; stop && c < w->columns; c++) {
        Span span = p->spans[c];
        int32_t from = span.from < 0 ? 0 : span.from, until = span.from < 0 ? 0 : span.until;
        w->slices[c * w->room + w->row] = placed(w, span, w->shifts[from], w->shifts[until]);
    }
    return stop;
}

static Place record(Walk *w, Place at) {
    Place start = at;
    at = recognized(w, start);
    if (!at) at = learned(w, start);
    if (!at || at - start > w->longest) return NULL;
    w->row++;
    return at;
}

/* Room for patterns, none of which is known yet; NULL if there is no memory. It is to be freed. */
static Pattern *prepare(Walk *w) {
    w->hope = HOPE / 2;
    Pattern *patterns = calloc(PATTERNS, sizeof *patterns + (size_t)w->columns * sizeof(Span));
    for (int32_t i = 0; patterns && i < PATTERNS; i++) {
        w->patterns[i] = &patterns[i];
        patterns[i].spans = (Span *)(patterns + PATTERNS) + (int64_t)i * w->columns;
    }
    return patterns;
}

/* The whole document: how many records there are with its own, ODD or FULL. */
static int64_t records(Walk *w, int form) {
    Place end = w->json.end, at = space(w->json.data, end);
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

/* Of the rows from this one on what is asked of each column: hashes, times, and codes. These go on after the codes of the
   documents before, of whose texts some may be alike; see `joined`. */
static int columns(const Walk *w, const uint8_t *asked, uint64_t seed, int64_t row, int32_t *codes, int32_t *firsts,
                   int32_t *counts, uint64_t *hashes, int64_t *times) {
    Table table;
    int64_t rows = w->row - row;
    int done = prepare_table(&table, rows, seed);
    for (int32_t c = 0; done && c < w->columns; c++) {
        if (!asked[c]) continue;
        for (int64_t r = 0; r < rows; r++) table.pieces[r] = piece_of(w->json.data, w->base, w->slices[c * w->room + row + r]);
        if (asked[c] & ENCODE) {
            int32_t known = counts[c], *code = codes + c * w->room + row, *first = firsts + c * w->room + known;
            counts[c] += encode(&table, rows, code, first);
            for (int64_t r = 0; known && r < rows; r++) code[r] += code[r] < 0 ? 0 : known;
            for (int32_t i = 0; i < counts[c] - known; i++) first[i] += (int32_t)row;
        }
        for (int64_t r = 0; r < rows; r++) {
            Piece one = table.pieces[r];
            if (asked[c] & HASH) hashes[row + r] = one.at ? xxh64(one.at, one.length, 0) : 0;
            if (asked[c] & TIME) times[row + r] = one.at ? epoch(one.at, one.length) : -1;
        }
    }
    release_table(&table);
    return done;
}

/* ---- Python ---- */

static int fits(const Walk *w, const Py_buffer *members, const Py_buffer *keys, const Py_buffer *asked) {
    if (w->base < 0 || w->json.end - w->json.data > INT32_MAX - w->base || w->row < 0 || w->row > w->room) return 0;
    if (w->room > INT32_MAX || w->nesting > DEEPEST || w->member_count < 1) return 0;
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
"read(data, form, members, keys, asked, nesting, longest, seed, base, row, room, slices, codes, firsts, counts, hashes,\n"
"times) -> int\n\n"
"How many rows there are with those of this document, which begins at `base` and with this row; -1: it is odd, -2: there\n"
"is no room for all. See kernel.py.");

static PyObject *py_read(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer data, members, keys, asked, slices, codes, firsts, counts, hashes, times;
    int form;
    Walk w = {0};
    long long longest, row, room;
    unsigned long long seed;
    if (!PyArg_ParseTuple(arguments, "y*iy*y*y*iLKiLLw*w*w*w*w*w*", &data, &form, &members, &keys, &asked, &w.nesting,
                          &longest, &seed, &w.base, &row, &room, &slices, &codes, &firsts, &counts, &hashes, &times))
        return NULL;
    int64_t found = ODD;
    int done = 1;
    w.json.data = data.buf;
    w.json.end = w.json.data + data.len;
    w.members = members.buf;
    w.member_count = (int32_t)(members.len / (Py_ssize_t)sizeof(Member));
    w.columns = (int32_t)asked.len;
    w.keys = keys.buf;
    w.slices = slices.buf;
    w.row = row;
    w.room = room;
    w.longest = longest;
    int64_t cells = room * asked.len;
    if (!fits(&w, &members, &keys, &asked) || slices.len < cells * (Py_ssize_t)sizeof(Slice) || codes.len < cells * 4 ||
        firsts.len < cells * 4 || counts.len < asked.len * 4 || hashes.len < room * 8 || times.len < room * 8 ||
        !counted(counts.buf, asked.len, row)) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not fit together");
        done = 0;
    } else {
        Py_BEGIN_ALLOW_THREADS
        Pattern *patterns = prepare(&w);
        done = patterns != NULL;
        if (done) found = records(&w, form);
        if (found > row)
            done = columns(&w, asked.buf, seed, row, codes.buf, firsts.buf, counts.buf, hashes.buf, times.buf);
        free(patterns);
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

static PyMethodDef methods[] = {
    {"read", py_read, METH_VARARGS, read_doc},
    {"join", py_join, METH_VARARGS, join_doc},
    {"texts", py_texts, METH_VARARGS, texts_doc},
    {"hashes", py_hashes, METH_VARARGS, hashes_doc},
    {"rest", py_rest, METH_VARARGS, rest_doc},
    {"numbers", py_numbers, METH_VARARGS, numbers_doc},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_members", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__members(void) { return PyModule_Create(&module); }
