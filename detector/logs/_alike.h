/* Records that are written like one before: with the same names in the same order, and other texts and numbers.

   Most records of a file are. To compare one with the record before tells where everything in it lies, in a fraction of
   the time that reading it takes.

   Rules of this file
   - A pattern is a record that was read in full. Alike is what agrees with it byte for byte but for its tokens, and has
     a text without escapes where the pattern has a text, a number where it has a number. So it is JSON, as deep as the
     pattern, and its members are the pattern's.
   - A token that never differed is compared with what is around it, in one go.
*/
#include "_json.h"

/* Where a column lies in a pattern, and after how many of its tokens that begins and ends; -1: not in the text, but a
   length, or -1 where there is none. */
typedef struct {
    int32_t start, stop, from, until;
} Span;

/* start, stop: the record, in the document. varies: the tokens that were seen to differ, in order. plain: it can be used. */
typedef struct {
    int32_t start, stop, count, varying, plain;
    int32_t varies[MOST_TOKENS];
    Slice tokens[MOST_TOKENS];
    Span *spans;
} Pattern;

/* The token of a pattern, of those after so many, in which this place lies, its end included; -1 if there is none. */
static int32_t token_at(const Pattern *p, int32_t after, int64_t place) {
    for (int32_t i = after; i < p->count && p->tokens[i].start <= place; i++)
        if (place <= p->tokens[i].stop) return i;
    return -1;
}

/* From now on this token, which comes before the n-th of those that vary, is one of them. */
static void vary(Pattern *p, int32_t n, int32_t token) {
    memmove(p->varies + n + 1, p->varies + n, (size_t)(p->varying - n) * sizeof *p->varies);
    p->varies[n] = token;
    p->varying++;
}

/* Where the record at `at` ends, if it is alike; else NULL. shifts: is filled with how much further on lies what follows
   so many tokens than in the pattern. */
static Place alike(const Json *j, Pattern *p, Place at, int32_t *shifts) {
    Place end = j->end, known = j->data + p->start;
    int32_t passed = 0, n = 0;
    if (!p->plain) return NULL;
    for (;;) {
        int32_t next = n < p->varying ? p->varies[n] : p->count;
        int64_t same = (next < p->count ? p->tokens[next].start : p->stop) - (known - j->data);
        if (end - at < same) return NULL;
        if (memcmp(known, at, (size_t)same)) {
            int64_t agree = 0;
            while (known[agree] == at[agree]) agree++;
            next = token_at(p, passed, known + agree - j->data);
            if (next < 0) return NULL;
            vary(p, n, next);
            continue;
        }
        while (passed <= next) shifts[passed++] = (int32_t)(at - known);
        at += same;
        if (next == p->count) return at;
        at = known[same - 1] == '"' ? end_of_run(at, end) : number(at, end); /* a text ends at the quote that follows */
        if (!at) return NULL;
        known = j->data + p->tokens[next].stop;
        n++;
    }
}
