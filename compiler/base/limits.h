/* limits.h: every cap of the compiler in one place.
 *
 * A spec is untrusted text: whatever grows with it has a cap here, and whoever meets the cap says so
 * with a located diagnostic.  The numbers are language rules (LANGUAGE.md, "Limits"), not tuning.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stdint.h>

#define LIMIT_FILE_BYTES (1 << 20)     /* one spec or included file */
#define LIMIT_TOTAL_BYTES (16 << 20)   /* a spec with everything it includes */
#define LIMIT_FILES 256                /* files in one compilation */
#define LIMIT_INCLUDE_DEPTH 16         /* include within include */
#define LIMIT_NESTING 64               /* brackets of any kind open at once */
#define LIMIT_AST_DEPTH 512            /* height of one tree, so that recursion over it is safe */
#define LIMIT_IDENTIFIER 255           /* bytes in a name */
#define LIMIT_NUMBER_TEXT 64           /* characters in one number */
#define LIMIT_EXPANSION 100000         /* nodes after blocks, repeats and ifs are expanded */
#define LIMIT_RANK 5                   /* axes of a tensor, batch included */
#define LIMIT_DIM INT64_C(2147483647)  /* one extent */
#define LIMIT_ELEMENTS (INT64_C(1) << 40) /* one tensor */
#define LIMIT_DIAGNOSTICS 20           /* errors shown in one run */
#define LIMIT_DIAG_STORED 1000         /* diagnostics kept before sorting */

#endif
