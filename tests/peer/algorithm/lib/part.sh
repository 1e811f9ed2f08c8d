# Sourced by run.sh: a file in a subdirectory of the train. PLAINTEXT-CANARY-CODE
add_line() { # FILE STOP
    echo "${1##*/} of stop $2" >>"$1"
}
