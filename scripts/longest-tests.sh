#!/usr/bin/env bash
# Prints the ten longest groups of tests and the ten longest tests of a JUnit report of cargo-nextest.
#
#   longest-tests.sh REPORT
#
# A group is a module: two levels of the integration tests, one of everything else.
set -euo pipefail

awk '
    function value(name,    rest) {
        rest = substr($0, index($0, " " name "=\"") + length(name) + 3)
        return substr(rest, 1, index(rest, "\"") - 1)
    }
    /<testcase / {
        program = value("classname"); name = value("name"); time = value("time")
        levels = split(name, level, "::")
        group = program " " level[1] (program ~ /::it$/ && levels > 2 ? "::" level[2] : "")
        groups[group] += time; tests[group]++; all += time; count++
        printf "test\t%.1f\t%s %s\n", time, program, name
    }
    END {
        for (group in groups) printf "group\t%.1f\t%s (%d tests)\n", groups[group], group, tests[group]
        printf "all\t%.1f\t%d\n", all, count
    }' "$1" | sort -t $'\t' -k 1,1 -k 2,2nr | awk -F '\t' '
    $1 == "all" { printf "%d tests; the sum of their times is %.0f s\n", $3, $2; next }
    $1 != kind { kind = $1; shown = 0; print "longest " kind "s:" }
    shown++ < 10 { printf "%8.1f s  %s\n", $2, $3 }'
