/* explain.c: `netc explain CODE`: finds and prints the rows of diag_codes.def.
 *
 * requires: nothing.  ensures: output is plain text, at most as wide as its rows.
 */
#include "front/explain.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const DiagCode codes[] = {
#define DIAG_CODE(code, title, text, wrong, right) {code, title, text, wrong, right},
#include "front/diag_codes.def"
#undef DIAG_CODE
};

const DiagCode *explain_codes(int *count)
{
    *count = (int)(sizeof codes / sizeof *codes);
    return codes;
}

/* People type "e104" or "E0104" or "104": letter and number decide. */
static bool same_code(const char *code, const char *wanted)
{
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

const DiagCode *explain_find(const char *code)
{
    int count;
    const DiagCode *all = explain_codes(&count);

    for (int i = 0; i < count; i++)
        if (same_code(all[i].code, code))
            return &all[i];
    return NULL;
}

static void print_indented(const char *title, const char *text, FILE *out)
{
    fprintf(out, "\n%s\n", title);
    while (*text) {
        size_t length = strcspn(text, "\n");
        fprintf(out, "    %.*s\n", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

bool explain_print(const char *code, FILE *out)
{
    const DiagCode *row = explain_find(code);

    if (!row)
        return false;
    fprintf(out, "%s: %s\n\n%s\n", row->code, row->title, row->text);
    if (row->wrong)
        print_indented("wrong:", row->wrong, out);
    if (row->right)
        print_indented("right:", row->right, out);
    return true;
}

void explain_list(FILE *out)
{
    int count;
    const DiagCode *all = explain_codes(&count);

    for (int i = 0; i < count; i++)
        fprintf(out, "%s  %s\n", all[i].code, all[i].title);
}
