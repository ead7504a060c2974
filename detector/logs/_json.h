/* JSON: each function reads on from `at`, and returns where it ended, or NULL if it did not find what it should. It takes
   nothing that is no JSON; whether texts are UTF-8 is the caller's to check. */
#include "_kernel.h"

enum { MOST_TOKENS = 256 };

/* What is read, and its tokens: where the content of its texts and numbers lies, names aside, in their order. `count`
   counts them all; no more than MOST_TOKENS are kept. */
typedef struct {
    Place data, end;
    Slice *tokens;
    int32_t count;
} Json;

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

static inline void token(Json *j, Place start, Place stop) {
    if (j->count < MOST_TOKENS) j->tokens[j->count] = (Slice){(int32_t)(start - j->data), (int32_t)(stop - j->data)};
    j->count++;
}

/* A text that is no name, from after its opening quote. */
static inline Place content(Json *j, Place at, int *escaped) {
    Place start = at;
    if ((at = text(at, j->end, escaped))) token(j, start, at - 1);
    return at;
}

static inline Place amount(Json *j, Place at) {
    Place start = at;
    if ((at = number(at, j->end))) token(j, start, at);
    return at;
}

/* Any value. left: how many levels it may have. */
static Place value(Json *j, Place at, int32_t left) {
    Place end = j->end;
    int more, escaped;
    if (at >= end) return NULL;
    switch (*at) {
    case '"':
        return content(j, at + 1, &escaped);
    case '{':
        if (left <= 0) return NULL;
        at = space(at + 1, end);
        if (at < end && *at == '}') return at + 1;
        do {
            if (at >= end || *at != '"') return NULL;
            at = text(at + 1, end, &escaped);
            if (!at || !(at = to_value(at, end)) || at >= end) return NULL;
            at = *at == '"' ? content(j, at + 1, &escaped) : value(j, at, left - 1);
            if (!at || !(at = to_next(at, end, '}', &more))) return NULL;
        } while (more);
        return at;
    case '[':
        if (left <= 0) return NULL;
        at = space(at + 1, end);
        if (at < end && *at == ']') return at + 1;
        do {
            if (!(at = value(j, at, left - 1)) || !(at = to_next(at, end, ']', &more))) return NULL;
        } while (more);
        return at;
    case 't':
        return word(at, end, "true", 4);
    case 'f':
        return word(at, end, "false", 5);
    case 'n':
        return word(at, end, "null", 4);
    default:
        return amount(j, at);
    }
}
