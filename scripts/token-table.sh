#!/usr/bin/env bash
# Prints what each kind of token did in the keystore's suite, from the outcomes that the tests have noted: capabilities as rows, tokens as columns.
set -euo pipefail
cat "$1"/* | sort -u | awk -F '\t' '
    !($1 in seen) { seen[$1]; rows[++row_count] = $1 }
    !($2 in tokens) { tokens[$2]; columns[++column_count] = $2 }
    { at[$1, $2] = ($3 == "works") ? "works" : "cannot (" (++notes) ")"; if ($3 != "works") note[notes] = $2 ", " $1 ": " $3 }
    END {
        printf "%-42s", "The keystore on each kind of token"
        for (c = 1; c <= column_count; c++) printf "  %-12s", columns[c]
        print ""
        for (r = 1; r <= row_count; r++) {
            printf "%-42s", rows[r]
            for (c = 1; c <= column_count; c++) printf "  %-12s", (rows[r], columns[c]) in at ? at[rows[r], columns[c]] : "NOT RUN"
            print ""
        }
        for (n = 1; n <= notes; n++) printf "(%d) %s\n", n, note[n]
    }'
