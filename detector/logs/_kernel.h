/* What the kernels share: where texts lie, which are alike, their hashes; seconds. */
#pragma once
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines; the Python way needs no compiler"
#endif

enum { ENCODE = 1 }; /* what is asked of a column: which of its texts are alike */

typedef const uint8_t *Place;

/* Where a value lies: [start, stop) of the document; start is -1 where there is none. A text with escapes in it has a
   negative stop. */
typedef struct {
    int32_t start, stop;
} Slice;

/* XXH64, as its specification describes it (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), for little-endian machines. */
#define P1 0x9E3779B185EBCA87ULL
#define P2 0xC2B2AE3D27D4EB4FULL
#define P3 0x165667B19E3779F9ULL
#define P4 0x85EBCA77C2B2AE63ULL
#define P5 0x27D4EB2F165667C5ULL

static inline uint64_t rotated(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
static inline uint64_t mixed(uint64_t sum, uint64_t lane) { return rotated(sum + lane * P2, 31) * P1; }

static inline uint64_t word64(const uint8_t *at) {
    uint64_t x;
    memcpy(&x, at, 8);
    return x;
}

static uint64_t xxh64(const uint8_t *at, int64_t length, uint64_t seed) {
    const uint8_t *end = at + length;
    uint64_t hash = seed + P5;
    if (length >= 32) {
        uint64_t sums[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
        for (; end - at >= 32; at += 32)
            for (int i = 0; i < 4; i++) sums[i] = mixed(sums[i], word64(at + 8 * i));
        hash = rotated(sums[0], 1) + rotated(sums[1], 7) + rotated(sums[2], 12) + rotated(sums[3], 18);
        for (int i = 0; i < 4; i++) hash = (hash ^ mixed(0, sums[i])) * P1 + P4;
    }
    hash += (uint64_t)length;
    for (; end - at >= 8; at += 8) hash = rotated(hash ^ mixed(0, word64(at)), 27) * P1 + P4;
    if (end - at >= 4) {
        uint32_t x;
        memcpy(&x, at, 4);
        hash = rotated(hash ^ (x * P1), 23) * P2 + P3;
        at += 4;
    }
    for (; at < end; at++) hash = rotated(hash ^ (*at * P5), 11) * P1;
    hash = (hash ^ (hash >> 33)) * P2;
    hash = (hash ^ (hash >> 29)) * P3;
    return hash ^ (hash >> 32);
}

/* What lies at a slice; at: NULL where there is nothing. */
typedef struct {
    Place at;
    int64_t length;
} Piece;

/* base: where, by the slice, the data begin. */
static inline Piece piece_of(Place data, int32_t base, Slice slice) {
    int64_t length = llabs((long long)slice.stop) - slice.start;
    return slice.start < 0 ? (Piece){NULL, 0} : (Piece){data + (slice.start - base), length};
}

static inline int alike_to(Piece one, Piece other) {
    return one.length == other.length && !memcmp(one.at, other.at, (size_t)one.length);
}

/* A hash table of codes, and the pieces that get them. codes: of `mask` + 1 places, code + 1, 0 for none. seed: nobody
   outside this process knows it. */
typedef struct {
    uint32_t *codes;
    Piece *pieces;
    uint64_t mask, seed;
} Table;

/* A table for so many rows, at most half full; 0 if there is no memory. It is to be released. */
static int prepare_table(Table *table, int64_t rows, uint64_t seed) {
    uint64_t places = 16;
    while (places < 2 * (uint64_t)rows) places *= 2;
    *table = (Table){malloc(places * sizeof *table->codes), malloc((size_t)(rows + 1) * sizeof *table->pieces), places - 1, seed};
    return table->codes && table->pieces;
}

static void release_table(Table *table) {
    free(table->codes);
    free(table->pieces);
}

/* Every row's code, in order of first appearance, and the row where each value came first; how many values there are. */
static int32_t encode(const Table *table, int64_t rows, int32_t *codes, int32_t *firsts) {
    const Piece *pieces = table->pieces;
    int32_t count = 0;
    memset(table->codes, 0, (table->mask + 1) * sizeof *table->codes);
    for (int64_t row = 0; row < rows; row++) {
        Piece one = pieces[row];
        if (!one.at) {
            codes[row] = -1;
            continue;
        }
        if (row && codes[row - 1] >= 0 && alike_to(one, pieces[row - 1])) {
            codes[row] = codes[row - 1];
            continue;
        }
        uint64_t place = xxh64(one.at, one.length, table->seed) & table->mask;
        while (table->codes[place] && !alike_to(one, pieces[firsts[table->codes[place] - 1]]))
            place = (place + 1) & table->mask;
        if (!table->codes[place]) {
            firsts[count] = (int32_t)row;
            table->codes[place] = (uint32_t)++count;
        }
        codes[row] = (int32_t)table->codes[place] - 1;
    }
    return count;
}

/* The number that these digits are, or -1. */
static int64_t digits_of(Place at, int count) {
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        if (at[i] < '0' || at[i] > '9') return -1;
        value = 10 * value + (at[i] - '0');
    }
    return value;
}

#define NO_TIME INT64_MIN

/* Epoch seconds of a time in UTC, or NO_TIME if there is no such time. year: 1 to 9999; others: -1 if they are no number. */
static int64_t seconds_of(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute, int64_t second) {
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
        second > 59 || day > lengths[month - 1] + (leap && month == 2))
        return NO_TIME;
    int64_t before = year - 1, days = before * 365 + before / 4 - before / 100 + before / 400 - 719162 + day - 1;
    for (int64_t m = 1; m < month; m++) days += lengths[m - 1] + (leap && m == 2);
    return ((days * 24 + hour) * 60 + minute) * 60 + second;
}
