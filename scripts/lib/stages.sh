# Running stages, each with a log, a time limit and lines of progress; then a table of all, in the order they were asked for.
# Sourced after common.sh by scripts that define stage_NAME functions, all_stages and limit_minutes. One runs after the other, unless the
# script sets stages_at_once; then those that have the same build_folder still do, and start_order says who comes first.
# The variables not set here are those of common.sh and of the script.
# shellcheck shell=bash disable=SC2154

# Adds up what the test programs in a log say: passed, failed, ignored. Rust's harness and tcltest are understood.
count() {
    awk '
        /^test result:/ { passed += $4; failed += $6; ignored += $8 }
        /^[^ ]*all\.tcl:[ \t]+Total/ { passed += $5; failed += $9; ignored += $7 }
        /^test scripts\/|^test \.ci/ { if ($NF == "ok") passed++ }
        /^fuzz target .*: ok$/ { passed++ }
        /^README.md:[0-9]+: ok$/ { passed++ }
        /^[^(]* (ok|WRONG) +\(/ { if ($0 ~ / ok +\(/) passed++; else failed++ }
        END { printf "%d %d %d\n", passed, failed, ignored }' "$1"
}

# The one line of a log worth showing in the summary.
highlight() {
    case $1 in
    model) grep -h '^model_commit:' "$2" | sed 's/^model_commit: //' | paste -sd';' | sed 's/;/; /g' ;;
    demo) grep -h '^input ' "$2" | tail -n 1 | tr -s ' ' ;;
    tclfuzz) grep -h '^tclfuzz:' "$2" | tail -n 1 | sed 's/^tclfuzz: //' ;;
    torture) grep -h '^torture:' "$2" | tail -n 1 | sed 's/^torture: //' ;;
    *) ;;
    esac
}

# stages_main ARGUMENT ...: the whole of such a script, once its stages are defined.
stages_main() {
    local name
    if [ "${1:-}" = --stage ]; then
        "stage_$2"
        exit
    fi
    stages=()
    for name in "$@"; do
        case $name in
        -h | --help) help_text && exit ;;
        *) [[ " ${all_stages[*]} " = *" $name "* ]] || fail "unknown stage '$name'; known: ${all_stages[*]}" ;;
        esac
        stages+=("$name")
    done
    ((${#stages[@]})) || stages=("${all_stages[@]}")
    need_rust
    run_stages
}

# The lines of a log that say what failed, and where: the last line of a log seldom does.
what_failed() {
    grep -nE -A 5 'panicked at |^error(\[|:)|^==== .* FAILED|^test .*(FAILED|failed)$|line [0-9]+:| WRONG ' "$1" | cut -c 1-2000 | head -n 60 || true
}

declare -A build_folder=() name_of=() started_at=() row_of=()
stages_at_once=1
start_order=()
total_passed=0
total_failed=0

# The stages to run, as start_order has them, and then the others.
in_start_order() {
    local name
    for name in "${start_order[@]}" "${stages[@]}"; do
        [[ " ${stages[*]} " != *" $name "* ]] || echo "$name"
    done | awk '!seen[$0]++'
}

# The first stage that waits and whose build folder nobody uses.
next_stage() {
    local name busy=" "
    for name in "${name_of[@]}"; do
        busy+="${build_folder[$name]:-$name} "
    done
    for name in "${waiting[@]}"; do
        if [[ $busy != *" ${build_folder[$name]:-$name} "* ]]; then
            echo "$name"
            return
        fi
    done
}

start_stage() {
    local name=$1 index
    begun=$((begun + 1))
    printf '[%2d/%d] %-9s begins\n' "$begun" ${#stages[@]} "$name"
    # In a group of its own, which timeout ends whole.
    timeout --kill-after=10 "${limit_minutes[$name]}m" "$script" --stage "$name" >"$(log_file "$name")" 2>&1 </dev/null &
    name_of[$!]=$name
    started_at[$name]=$(now_ms)
    for index in "${!waiting[@]}"; do
        [ "${waiting[index]}" != "$name" ] || unset "waiting[index]"
    done
}

# end_stage NAME STATUS: says how it ended, and keeps its row of the table.
end_stage() {
    local name=$1 status=$2 log took outcome detail text passed failed ignored
    log=$(log_file "$name")
    took=$(duration $(($(now_ms) - started_at[$name])))
    read -r passed failed ignored < <(count "$log")
    outcome=ok
    if ((status)); then
        outcome=FAILED
        ((failed)) || failed=1
    elif ((passed + failed == 0)); then
        # A check that counts nothing is one check.
        passed=1
    fi
    ((status != 124)) || outcome="TIMED OUT"
    detail="$passed passed"
    ((failed == 0)) || detail+=", $failed failed"
    ((ignored == 0)) || detail+=", $ignored IGNORED"
    text=$(highlight "$name" "$log" || true)
    row_of[$name]=$(printf '%-9s  %-9s  %14s  %s' "$name" "$outcome" "$took" "$detail${text:+; $text}")
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    printf '        %-9s %-9s  %14s\n' "$name" "$outcome" "$took"
    if ((status)); then
        printf '%s\n' "---- end of $log ----"
        tail -n 30 "$log"
        printf '%s\n' "---- what failed in it ----"
        what_failed "$log"
        printf '%s\n' "---- $script $name runs this stage alone ----"
    fi
}

run_stages() {
    local name pid status started begun=0 waiting=() script=$root/scripts/${0##*/}
    started=$(now_ms)
    mapfile -t waiting < <(in_start_order)
    # Whoever ends this ends what it has started.
    trap 'kill "${!name_of[@]}" 2>/dev/null || true' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    while ((${#waiting[@]} + ${#name_of[@]})); do
        name=
        ((${#name_of[@]} >= stages_at_once)) || name=$(next_stage)
        if [ -n "$name" ]; then
            start_stage "$name"
            continue
        fi
        status=0
        wait -n -p pid "${!name_of[@]}" || status=$?
        name=${name_of[$pid]}
        unset "name_of[$pid]"
        end_stage "$name" "$status"
    done
    trap - EXIT

    printf '\n%-9s  %-9s  %14s  %s\n' stage outcome time result
    for name in "${stages[@]}"; do
        printf '%s\n' "${row_of[$name]}"
    done
    local positions
    positions=$(real_positions)
    if [ -n "$positions" ]; then
        echo "positions: $positions"
    elif [ "${CI:-}" = true ]; then
        echo "positions: REAL POSITIONS ARE MISSING (AEROSTORE_POSITIONS, ../shared/data/positions.tsv): generated traffic was used"
    else
        echo "positions: generated traffic, as no real positions are at hand"
    fi
    echo "time: $(duration $(($(now_ms) - started))); logs: $target/logs"
    echo "$total_passed passed, $total_failed failed"
    ((total_failed == 0))
}
