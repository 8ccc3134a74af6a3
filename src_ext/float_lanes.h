/* Registers of floats, and the exponential of them: what the kernels in single precision have in common. Included once per
 * register width, with LANES and NAME(name) defined; that is why it has no include guard. float_lanes_end.h undoes it.
 * One lane is plain C, for compilers without vector extensions. */

#if LANES == 1
typedef float NAME(floats);
typedef int32_t NAME(ints);
typedef uint32_t NAME(words);
#define FLOATS NAME(floats)
#define INTS NAME(ints)
static inline FLOATS NAME(to_floats)(INTS value) { return (FLOATS)value; }
#define LANE(value, k) (value)
#define YES(condition) (-(INTS)(condition))
static inline FLOATS NAME(as_floats)(INTS value) {
    FLOATS result;
    memcpy(&result, &value, sizeof result);
    return result;
}
static inline INTS NAME(as_ints)(FLOATS value) {
    INTS result;
    memcpy(&result, &value, sizeof result);
    return result;
}
#else
typedef float NAME(floats) __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t NAME(ints) __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t NAME(words) __attribute__((vector_size(4 * LANES), may_alias));
#define FLOATS NAME(floats)
#define INTS NAME(ints)
static inline FLOATS NAME(to_floats)(INTS value) { return __builtin_convertvector(value, FLOATS); }
#define LANE(value, k) ((value)[k])
#define YES(condition) ((INTS)(condition))
static inline FLOATS NAME(as_floats)(INTS value) { return (FLOATS)value; }
static inline INTS NAME(as_ints)(FLOATS value) { return (INTS)value; }
#endif

#define AS_FLOATS NAME(as_floats)
#define AS_INTS NAME(as_ints)
#define ALL(number) ((FLOATS){0} + (number))

/* yes ? a : b, lane by lane. A comparison with NaN is false, so NaN passes where it is b. */
static inline FLOATS NAME(pick)(INTS yes, FLOATS a, FLOATS b) {
    return AS_FLOATS((yes & AS_INTS(a)) | (~yes & AS_INTS(b)));
}
#define PICK NAME(pick)

/* e^x for x <= 0, NaN for NaN, 0 below -87. */
static inline FLOATS NAME(exponential)(FLOATS x) {
    const INTS vanishes = YES(x < ALL(-87.0f));
    x = PICK(vanishes, ALL(-87.0f), x);
    /* Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits. */
    const FLOATS shifted = x * 1.44269504088896341f + 12582912.0f;
    const FLOATS n = shifted - 12582912.0f;
    const FLOATS r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    FLOATS y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = (y * r * r + r) + 1.0f;
    /* Unsigned, because what NaN becomes may overflow; it is multiplied by a NaN. */
    const FLOATS power = AS_FLOATS((INTS)(((NAME(words))AS_INTS(shifted) - 0x4B400000 + 127) << 23));
    return PICK(vanishes, ALL(0.0f), y * power);
}
