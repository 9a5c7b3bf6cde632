# Counting the instructions of core operations under callgrind, and comparing them with the counts kept in the repository.
# Sourced after common.sh.
# shellcheck shell=bash disable=SC2154

kept_instructions=$root/aerostore_core/benches/instructions.tsv
# How far a count may be from the one kept, in percent: another compiler's library or another processor moves it by less.
instructions_band=5

# Lines of name and instructions per operation, separated by a tab.
measure_instructions() {
    local folder program said
    folder=$target/instructions
    rm -rf "$folder"
    mkdir -p "$folder"
    cargo build --quiet --profile quick -p aerostore_core --bench instructions
    program=$(cargo build --quiet --profile quick -p aerostore_core --bench instructions --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/instructions-[^"]*\)".*/\1/p')
    [ -x "$program" ] || fail "cargo does not say where the program is that counts"
    # Threads apart: the log writer's work depends on what the machine does besides. The first one is that which asks.
    if ! said=$(valgrind --tool=callgrind --separate-threads=yes --toggle-collect='*measured_*' \
        --callgrind-out-file="$folder/counts" "$program" 2>"$folder/valgrind.log"); then
        cat "$folder/valgrind.log" >&2
        fail "$program fails under callgrind"
    fi
    # A function is listed for each file that parts of it come from; the largest count includes the others.
    callgrind_annotate --inclusive=yes --threshold=100 "$folder/counts-01" 2>/dev/null | awk -v said="$said" '
        match($0, /measured_[a-z_]+/) {
            name = substr($0, RSTART + 9, RLENGTH - 9)
            count = $1
            gsub(",", "", count)
            if (count + 0 > total[name]) total[name] = count + 0
        }
        END {
            lines = split(said, line, "\n")
            for (i = 1; i <= lines; i++) {
                split(line[i], field, "\t")
                printf "%s\t%.0f\n", field[1], total[field[1]] / field[2]
            }
        }'
}

# compare_instructions KEPT MEASURED: a line for each operation; fails when one is outside the band, or is not in both.
compare_instructions() {
    awk -F '\t' -v band="$instructions_band" '
        FNR == NR { kept[$1] = $2; next }
        !heading++ { printf "%-16s %12s %12s %9s\n", "operation", "kept", "now", "change" }
        {
            seen[$1] = 1
            if (!($1 in kept)) { printf "%-16s %12s %12d %9s  WRONG (not kept)\n", $1, "-", $2, "-"; wrong = 1; next }
            change = 100 * ($2 - kept[$1]) / kept[$1]
            inside = change <= band && change >= -band
            printf "%-16s %12d %12d %+8.1f%%  %s\n", $1, kept[$1], $2, change, inside ? "ok (inside the band)" : "WRONG (outside the band)"
            if (!inside) wrong = 1
        }
        END {
            for (name in kept) if (!(name in seen)) { printf "%-16s %12d %12s %9s  WRONG (not measured)\n", name, kept[name], "-", "-"; wrong = 1 }
            exit wrong
        }' "$1" "$2"
}

# Compares what is measured with what is kept.
check_instructions() {
    need valgrind
    local measured=$target/instructions.tsv
    measure_instructions >"$measured"
    if ! compare_instructions "$kept_instructions" "$measured"; then
        echo "instructions an operation, $instructions_band % either way; if the change is meant: scripts/bench --quick --keep, and say why in the commit"
        return 1
    fi
}

# Keeps what is measured.
keep_instructions() {
    need valgrind
    measure_instructions >"$kept_instructions.new"
    mv "$kept_instructions.new" "$kept_instructions"
    echo "kept in ${kept_instructions#"$root"/}:"
    column -t "$kept_instructions"
}
