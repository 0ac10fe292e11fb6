/* explain.c: `netc explain CODE`: finds and prints the rows of diag_codes.def.
 *
 * requires: nothing.  ensures: output is plain text of at most 80 columns.
 */
#include "front/explain.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 78 };

static const DiagCode codes[] = {
#define DIAG_CODE(code, title, text, wrong, right) {code, title, text, wrong, right},
#include "front/diag_codes.def"
#undef DIAG_CODE
};

const DiagCode *explain_codes(int *count) {
    *count = (int)(sizeof codes / sizeof *codes);
    return codes;
}

/* People type "e104" or "E0104" or "104": letter and number decide. */
static bool same_code(const char *code, const char *wanted) {
    char letter = (char)toupper((unsigned char)wanted[0]);
    char *end;

    if (letter != 'E' && letter != 'W')
        letter = 0;
    else
        wanted++;
    if (!isdigit((unsigned char)wanted[0]))
        return false;
    long number = strtol(wanted, &end, 10);
    return *end == 0 && (letter == 0 || letter == code[0]) && number == strtol(code + 1, NULL, 10);
}

const DiagCode *explain_find(const char *code) {
    int count;
    const DiagCode *all = explain_codes(&count);

    for (int i = 0; i < count; i++)
        if (same_code(all[i].code, code))
            return &all[i];
    return NULL;
}

/* Paragraphs of the table wrapped anew, so that rows may break lines where their source looks best. */
void explain_wrap(const char *text, FILE *out) {
    int column = 0;

    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column > 0 && column + 1 + (int)length > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%s%.*s", column ? " " : "", (int)length, text);
        text += length + (text[length] != 0);
    }
    fputc('\n', out);
}

static void print_example(const char *title, const char *text, FILE *out) {
    fprintf(out, "\n%s\n", title);
    while (*text) {
        size_t length = strcspn(text, "\n");
        fprintf(out, "    %.*s\n", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

bool explain_print(const char *code, FILE *out) {
    const DiagCode *row = explain_find(code);

    if (!row)
        return false;
    fprintf(out, "%s: %s\n\n", row->code, row->title);
    explain_wrap(row->text, out);
    if (row->wrong)
        print_example("wrong:", row->wrong, out);
    if (row->right)
        print_example("right:", row->right, out);
    return true;
}

void explain_list(FILE *out) {
    int count;
    const DiagCode *all = explain_codes(&count);

    for (int i = 0; i < count; i++)
        fprintf(out, "%s  %s\n", all[i].code, all[i].title);
}
