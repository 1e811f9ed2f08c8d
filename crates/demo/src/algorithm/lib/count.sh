# Sourced by run.sh. code-@MARK@
mark=@MARK@

# The value that the query asks for.
condition() {
    sed -n 's/.*"condition": *"\([^"]*\)".*/\1/p'
}

# The records (id,gender,age) with that value.
matching() { # VALUE
    awk -F, -v wanted="$1" 'NR > 1 && $2 == wanted'
}

# How many of them in each decade of life.
by_decade() {
    awk -F, '{ count[int($3 / 10) * 10]++ } END { for (age = 0; age < 120; age += 10) if (count[age]) print age "," count[age] }'
}
