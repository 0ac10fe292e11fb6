/* rt_digits.h: a data set that needs no file: the ten digits, drawn with a pen.
 *
 * Each sample is a function of (seed, split, index): a hand (one of several stroke skeletons of the
 * digit), an affine map, an elastic distortion of the strokes, a pen and its pressure.  28 x 28
 * grey, background 0, ink 255, in a 20 x 20 box with the centre of mass in the middle, as MNIST.
 * Samples 10k .. 10k+9 hold each digit once, in random order.
 */
#ifndef RT_DIGITS_H
#define RT_DIGITS_H

#include <stdint.h>

#include "rt_rng.h"

#define RT_DIGITS_SIDE 28

typedef struct rt_digits {
    rt_rng rng;
} rt_digits;

/* test != 0 takes numbers from another stream: no sample occurs in both. */
rt_digits rt_digits_make(uint64_t seed, int test);
int rt_digits_label(const rt_digits *d, int64_t index);
/* Draws sample index into 28 * 28 bytes; thread-safe. */
void rt_digits_draw(const rt_digits *d, int64_t index, unsigned char *pixels);
/* How many hands digit 0..9 has, and one of them drawn without any distortion. */
int rt_digits_hands(int digit);
void rt_digits_draw_plain(int digit, int hand, unsigned char *pixels);

#endif
