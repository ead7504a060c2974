/* Server access logs → where the fields of every usual line lie, and which of them are alike.

   The kernel behind `usual_lines.py`, which says what goes in and what comes out; without it the same is done, slower, by
   the exact parser of `access_line.py`, line by line.

   Rules of this file
   - A line is usual if what stands left of its referer leaves nothing to choose:

         owner bucket [time] address requester request-id operation key "method target version" status … turn-around …

     Every field up to the space after turn-around is of the form that the exact parser demands, is not empty, and holds
     no space, quote, control character or byte that is not ASCII. In place of a whole request it may say "-" or -. So
     that parser has no other reading of it, whatever the requester wrote. What comes after takes no part in this.
   - A line that is not usual is not wrong: it is told where it lies, and read in Python.
   - It reads within [0, size) and writes within the buffers it was given; it keeps nothing. All loops are bounded by
     `size` and `room`.
*/
#include "_kernel.h"

enum { OWNER, BUCKET, ADDRESS, WHO, REQUEST_ID, OPERATION, KEY, TARGET, RESULT, RIGHT, AFTER_HOST_ID, COLUMNS };
enum { LINE, TIME, SENT, ID, EVENT_ID, NUMBERS };
enum { OTHER_LINE, OTHER_BEGIN, OTHER_END, OTHERS };
enum { LONGEST_LEFT = 2048 };    /* bytes before the request: a key has at most 1,024, but may be spelled longer */
enum { LENGTH_OF_TIME = 28 };    /* [06/Feb/2019:00:00:38 +0000] */
enum { SHORTEST_HOST_ID = 38 };  /* as in access_line.py */
#define LATEST (1LL << 33)       /* as in access_line.py */

typedef struct {
    const uint8_t *data, *end;
    const uint8_t *asked; /* a byte a column: ENCODE */
    Slice *slices;        /* of column c, row r: slices[c * room + r] */
    int64_t *numbers;     /* laid out alike */
    int32_t *others;      /* laid out alike */
    int64_t room, row, other, line, longest;
    Place time_at; /* of the last usual line; NULL before the first */
    int64_t time;
} Walk;

/* ---- fields: each function reads on from `at`, and returns where it ended, or NULL if that is not usual ---- */

/* The next space, quote, control character or byte that is not ASCII; `end` if there is none. "!" is the only other byte
   below "#"; bytes that are not ASCII are negative. */
static inline Place end_of_field(Place at, Place end) {
#ifdef __SSE2__
    const __m128i beyond = _mm_set1_epi8('#'), mark = _mm_set1_epi8('!');
    for (; end - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)at);
        int mask = _mm_movemask_epi8(_mm_andnot_si128(_mm_cmpeq_epi8(x, mark), _mm_cmplt_epi8(x, beyond)));
        if (mask) return at + __builtin_ctz((unsigned)mask);
    }
#endif
    while (at < end && ((*at >= '#' && *at < 0x80) || *at == '!')) at++;
    return at;
}

/* To the space after a field. */
static inline Place to_space(Place at, Place end) {
    Place stop = end_of_field(at, end);
    return stop > at && stop < end && *stop == ' ' ? stop : NULL;
}

/* Whether there is the log's sign for nothing, and a space. */
static inline int is_nothing(Place at, Place end) { return end - at >= 2 && at[0] == '-' && at[1] == ' '; }

static inline int is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline int is_letter(uint8_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

/* Epoch seconds of a time in its brackets, with its offset taken off; NO_TIME if it is none. */
static int64_t any_time(Place at) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec", frame[] = "[00/Aaa/0000:00:00:00 +0000]";
    for (int i = 0; i < LENGTH_OF_TIME; i++)
        if (frame[i] == '0' ? !is_digit(at[i]) : frame[i] != 'A' && frame[i] != 'a' && frame[i] != '+' && frame[i] != at[i])
            return NO_TIME;
    int64_t month = 0, year = digits_of(at + 8, 4), hours = digits_of(at + 23, 2), minutes = digits_of(at + 25, 2);
    while (month < 12 && memcmp(months + 3 * month, at + 4, 3)) month++;
    if (year < 1 || month == 12 || minutes > 59 || (at[22] != '+' && at[22] != '-')) return NO_TIME;
    int64_t seconds = seconds_of(year, month + 1, digits_of(at + 1, 2), digits_of(at + 13, 2), digits_of(at + 16, 2),
                                 digits_of(at + 19, 2));
    if (seconds == NO_TIME) return NO_TIME;
    seconds += (at[22] == '-' ? 60 : -60) * (60 * hours + minutes);
    return seconds >= 0 && seconds < LATEST ? seconds : NO_TIME;
}

/* The same; within the hour of the last usual line only minutes and seconds are looked at. */
static inline int64_t time_of(const Walk *w, Place at) {
    Place last = w->time_at;
    if (last && !memcmp(last, at, 16) && at[18] == ':' && !memcmp(last + 21, at + 21, 7)) {
        int64_t minute = digits_of(at + 16, 2), second = digits_of(at + 19, 2);
        if (minute < 0 || minute > 59 || second < 0 || second > 59) return NO_TIME;
        minute -= digits_of(last + 16, 2);
        int64_t time = w->time + 60 * minute + second - digits_of(last + 19, 2);
        return time >= 0 && time < LATEST ? time : NO_TIME;
    }
    return any_time(at);
}

/* To the space after a request. target: where it lies, if it has one. */
static Place request(Place at, Place end, Place *target, Place *target_end) {
    *target = NULL;
    if (is_nothing(at, end)) return at + 1;
    if (end - at < 4 || *at != '"') return NULL;
    if (!memcmp(at, "\"-\" ", 4)) return at + 3;
    Place method = at + 1, stop = to_space(method, end);
    if (!stop || stop - method > 32) return NULL;
    for (at = method; at < stop; at++)
        if (!is_letter(*at) && *at != '_' && *at != '-') return NULL;
    *target = stop + 1;
    if (!(*target_end = to_space(*target, end))) return NULL;
    Place version = *target_end + 1;
    stop = end_of_field(version, end);
    if (stop - version < 6 || stop - version > 13 || memcmp(version, "HTTP/", 5)) return NULL;
    for (at = version + 5; at < stop; at++)
        if (!is_digit(*at) && *at != '.') return NULL;
    return end - stop >= 2 && stop[0] == '"' && stop[1] == ' ' ? stop + 1 : NULL;
}

/* To the space after status and error. */
static Place result(Place at, Place end) {
    if (!is_nothing(at, end) && (end - at < 4 || digits_of(at, 3) < 0 || at[3] != ' ')) return NULL;
    Place error = at + (*at == '-' ? 2 : 4), stop = to_space(error, end);
    if (!stop || stop - error > 99) return NULL;
    for (at = error; at < stop; at++)
        if (!is_letter(*at) && !is_digit(*at) && *at != '_' && *at != '.' && *at != ':' && *at != '-') return NULL;
    return stop;
}

/* To the space after a whole number; nothing is 0. 18 digits always fit. */
static inline Place whole(Place at, Place end, int64_t *value) {
    Place last = end - at > 18 ? at + 18 : end, begin = at;
    *value = 0;
    if (is_nothing(at, end)) return at + 1;
    for (; at < last && is_digit(*at); at++) *value = 10 * *value + (*at - '0');
    return at > begin && at < end && *at == ' ' ? at : NULL;
}

static int is_ascii(Place at, Place end) {
    uint8_t all = 0;
    for (; at < end; at++) all |= *at;
    return all < 0x80;
}

/* ---- lines ---- */

static inline void put(const Walk *w, int column, Place start, Place stop) {
    Slice *slice = &w->slices[column * w->room + w->row];
    slice->start = start ? (int32_t)(start - w->data) : -1;
    slice->stop = start ? (int32_t)(stop - w->data) : -1;
}

/* A field; none if it says nothing. */
static inline void put_field(const Walk *w, int column, Place start, Place stop) {
    put(w, column, stop - start == 1 && *start == '-' ? NULL : start, stop);
}

/* Hash of what the dedup id is made of, zeros in between; and that of its spelling. */
static void put_ids(const Walk *w, const Place (*fields)[2], int count) {
    uint8_t joined[LONGEST_LEFT + 8], *at = joined, spelled[16];
    for (int i = 0; i < count; i++) {
        if (i) *at++ = 0;
        size_t length = (size_t)(fields[i][1] - fields[i][0]);
        memcpy(at, fields[i][0], length);
        at += length;
    }
    uint64_t event = xxh64(joined, at - joined, 0);
    for (int i = 0; i < 16; i++) spelled[i] = (uint8_t) "0123456789abcdef"[event >> (60 - 4 * i) & 15];
    w->numbers[EVENT_ID * w->room + w->row] = (int64_t)event;
    w->numbers[ID * w->room + w->row] = (int64_t)xxh64(spelled, 16, 0);
}

/* What is read from the right. A host id takes part in nothing where it is the second field after a user agent: then it
   is left out, and what comes after it is a slice of its own. */
static void put_right(const Walk *w, Place at, Place end) {
    Place quote = NULL, spaces[3];
    int64_t quotes = 0;
    put(w, RIGHT, at, end);
    put(w, AFTER_HOST_ID, NULL, NULL);
    if (!w->asked[RIGHT]) return;
    for (Place next = at; next < end && (next = memchr(next, '"', (size_t)(end - next))); next++, quotes++) quote = next;
    if (!quote || quotes == 2) return; /* with two the referer alone may be quoted */
    Place from = quote + 1;
    for (int i = 0; i < 3; i++, from = spaces[i - 1] + 1)
        if (from >= end || !(spaces[i] = memchr(from, ' ', (size_t)(end - from)))) return;
    Place host_id = spaces[1] + 1;
    if (spaces[2] - host_id < SHORTEST_HOST_ID || !is_ascii(host_id, spaces[2])) return;
    put(w, RIGHT, at, host_id);
    put(w, AFTER_HOST_ID, spaces[2], end);
}

/* Put a line, if it is usual, into the row at hand; whether it is. */
static int usual(Walk *w, Place begin, Place end) {
    if (end - begin > w->longest) return 0;
    Place owner = to_space(begin, end), bucket = owner ? to_space(owner + 1, end) : NULL;
    if (!bucket || end - bucket < LENGTH_OF_TIME + 2 || bucket[LENGTH_OF_TIME + 1] != ' ') return 0;
    int64_t time = time_of(w, bucket + 1), sent, ignored;
    if (time == NO_TIME) return 0;
    Place zone = bucket + LENGTH_OF_TIME + 1, address = to_space(zone + 1, end);
    Place who = address ? to_space(address + 1, end) : NULL, id = who ? to_space(who + 1, end) : NULL;
    Place operation = id ? to_space(id + 1, end) : NULL, key = operation ? to_space(operation + 1, end) : NULL;
    Place target, target_end, after = key && key - begin <= LONGEST_LEFT ? request(key + 1, end, &target, &target_end) : NULL;
    Place error = after ? result(after + 1, end) : NULL, right = error ? whole(error + 1, end, &sent) : NULL;
    for (int i = 0; i < 3 && right; i++) right = whole(right + 1, end, &ignored);
    if (!right) return 0;

    w->time_at = bucket + 1;
    w->time = time;
    put(w, OWNER, begin, owner);
    put_field(w, BUCKET, owner + 1, bucket);
    put_field(w, ADDRESS, zone + 1, address);
    put(w, WHO, who - address == 2 && address[1] == '-' ? zone : address, who);
    put_field(w, REQUEST_ID, who + 1, id);
    put(w, OPERATION, id + 1, operation);
    put_field(w, KEY, operation + 1, key);
    Slice *spelled = &w->slices[KEY * w->room + w->row];
    if (memchr(operation + 1, '%', (size_t)(key - operation - 1))) spelled->stop = -spelled->stop;
    put(w, TARGET, target, target_end);
    put(w, RESULT, after + 1, error);
    put_right(w, right + 1, end);
    w->numbers[LINE * w->room + w->row] = w->line;
    w->numbers[TIME * w->room + w->row] = time;
    w->numbers[SENT * w->room + w->row] = sent;
    const Place fields[4][2] = {{who + 1, id}, {id + 1, operation}, {owner + 1, bucket}, {operation + 1, key}};
    put_ids(w, fields, 4);
    return 1;
}

/* As many lines as there is room for, from `at` on; where they end. */
static Place lines(Walk *w, Place at) {
    for (; at < w->end && w->line < w->room; w->line++) {
        Place stop = memchr(at, '\n', (size_t)(w->end - at)), end = stop ? stop : w->end;
        if (usual(w, at, end)) {
            w->row++;
        } else {
            w->others[OTHER_LINE * w->room + w->other] = (int32_t)w->line;
            w->others[OTHER_BEGIN * w->room + w->other] = (int32_t)(at - w->data);
            w->others[OTHER_END * w->room + w->other] = (int32_t)(end - w->data);
            w->other++;
        }
        at = stop ? stop + 1 : end;
    }
    return at;
}

/* ---- Python ---- */

static int columns(const Walk *w, uint64_t seed, int32_t *codes, int32_t *firsts, int32_t *counts) {
    Table table;
    int done = prepare_table(&table, w->row, seed);
    for (int c = 0; done && c < COLUMNS; c++) {
        if (!(w->asked[c] & ENCODE)) continue;
        for (int64_t row = 0; row < w->row; row++) table.pieces[row] = piece_of(w->data, 0, w->slices[c * w->room + row]);
        counts[c] = encode(&table, w->row, codes + c * w->room, firsts + c * w->room);
    }
    release_table(&table);
    return done;
}

PyDoc_STRVAR(read_doc,
"read(data, at, longest, asked, seed, room, slices, codes, firsts, counts, numbers, others) -> (int, int, int)\n\n"
"Looks at the lines from `at` on, as many as there is room for: how many are usual, how many are not, and where the\n"
"next begins. See usual_lines.py.");

static PyObject *py_read(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer data, asked, slices, codes, firsts, counts, numbers, others;
    Walk w = {0};
    long long at, longest, room;
    unsigned long long seed;
    if (!PyArg_ParseTuple(arguments, "y*LLy*KLw*w*w*w*w*w*", &data, &at, &longest, &asked, &seed, &room, &slices, &codes,
                          &firsts, &counts, &numbers, &others))
        return NULL;
    PyObject *found = NULL;
    if (data.len > INT32_MAX || at < 0 || at > data.len || room < 0 || room > INT32_MAX || asked.len != COLUMNS ||
        slices.len < COLUMNS * room * (Py_ssize_t)sizeof(Slice) || codes.len < COLUMNS * room * 4 ||
        firsts.len < COLUMNS * room * 4 || counts.len < COLUMNS * 4 || numbers.len < NUMBERS * room * 8 ||
        others.len < OTHERS * room * 4) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not fit together");
    } else {
        int done;
        w.data = data.buf;
        w.end = w.data + data.len;
        w.asked = asked.buf;
        w.slices = slices.buf;
        w.numbers = numbers.buf;
        w.others = others.buf;
        w.room = room;
        w.longest = longest;
        Py_BEGIN_ALLOW_THREADS
        at = lines(&w, w.data + at) - w.data;
        done = columns(&w, seed, codes.buf, firsts.buf, counts.buf);
        Py_END_ALLOW_THREADS
        found = done ? Py_BuildValue("LLL", (long long)w.row, (long long)w.other, at) : PyErr_NoMemory();
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&asked);
    PyBuffer_Release(&slices);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&firsts);
    PyBuffer_Release(&counts);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&others);
    return found;
}

static PyMethodDef methods[] = {
    {"read", py_read, METH_VARARGS, read_doc},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_lines", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lines(void) { return PyModule_Create(&module); }
