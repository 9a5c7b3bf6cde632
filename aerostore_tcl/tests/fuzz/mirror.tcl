# A table that only the commands here change, each of which is predicted by a dict: of keys, of dicts of columns, without nulls.
#
# All of them are run in an interpreter of their own; what they give, and how they fail, is compared.

namespace eval mirror {
    variable rows {}
    variable interp M
    variable seed 1
    variable definition {{key k} {int i -index ordered} {wide w} {double d} {string s -length 40 -index hash} {bool b}}
}

proc mirror::key {} {return m[fuzz::below 12]}

# A column, a value that is given for it and what it is afterwards: a value, or null, or an error.
proc mirror::value {} {
    set column [fuzz::one_of {i w d s b}]
    switch $column {
        i {set choices {{1 1} {-5 -5} {0x10 16} {{} null} {2147483647 2147483647} {2147483648 error} {x error}}}
        w {set choices {{1 1} {9223372036854775807 9223372036854775807} {9223372036854775808 error} {\\N null} {-3 -3} {1.5 error}}}
        d {set choices {{1.5 1.5} {-2.25 -2.25} {{} null} {NaN error} {1e300 1e+300} {abc error}}}
        s {set choices [list {abc abc} [list "\u00e4\u20ac" "\u00e4\u20ac"] [list "a\tb\n" "a\tb\n"] {{} null} [list a\0b error]\
            [list [string repeat x 40] [string repeat x 40]] [list [string repeat x 41] error] {{a b} {a b}}]}
        b {set choices {{1 1} {no 0} {true 1} {{} null} {2 1} {maybe error}}}
    }
    list $column {*}[fuzz::one_of $choices]
}

# Up to three columns and values as words; what they make of a row goes to the variable, which is "error" when one is bad.
proc mirror::pairs {variable} {
    upvar 1 $variable row
    set words {}
    for {set n [fuzz::below 3]} {$n >= 0} {incr n -1} {
        lassign [value] column given becomes
        lappend words $column $given
        if {$becomes eq "error" || $row eq "error"} {
            set row error
        } elseif {$becomes eq "null"} {
            dict unset row $column
        } else {
            dict set row $column $becomes
        }
    }
    return $words
}

# The row of that key as `get` has it.
proc mirror::listed {key} {
    variable rows
    if {![dict exists $rows $key]} {return}
    concat [list $key] [lmap column {i w d s b} {expr {[dict exists $rows $key $column] ? [dict get $rows $key $column] : {}}}]
}

# Commands for one change, and what comes of it: {words result}, with the rows changed; a result of "error" stands for one.
proc mirror::change {} {
    variable rows
    set key [key]
    set row [expr {[dict exists $rows $key] ? [dict get $rows $key] : {}}]
    switch [fuzz::below 6] {
        0 - 1 {
            set words [list set $key {*}[pairs row]]
            set result {}
        }
        2 {
            set words [list store k $key {*}[pairs row]]
            set result $key
        }
        3 {
            set result [dict exists $rows $key]
            dict unset rows $key
            return [list [list delete $key] $result]
        }
        4 {
            set amount [fuzz::one_of {1 -1 7 2147483647}]
            set words [list incr $key i $amount]
            set sum [expr {([dict exists $row i] ? [dict get $row i] : 0) + $amount}]
            set result $sum
            if {$sum > 2147483647 || $sum < -2147483648} {set row error} else {dict set row i $sum}
        }
        5 {
            set words [list null $key s d]
            set result [dict exists $rows $key]
            if {!$result} {return [list $words 0]}
            dict unset row s
            dict unset row d
        }
    }
    if {$row eq "error"} {return [list $words error]}
    dict set rows $key $row
    list $words $result
}

# Whether a row satisfies i > number.
proc mirror::above {number} {
    variable rows
    set keys {}
    dict for {key row} $rows {
        if {[dict exists $row i] && [dict get $row i] > $number} {lappend keys $key}
    }
    lsort $keys
}

# One command of the table, or several; compares.
proc mirror::step {} {
    variable rows
    variable interp
    set before $rows
    switch [fuzz::below 14] {
        0 - 1 - 2 - 3 {
            lassign [change] words expected
            return [expect [list Mirror {*}$words] $expected $before]
        }
        4 {
            set key [key]
            return [expect [list Mirror get $key] [listed $key] $before]
        }
        5 {
            return [expect {Mirror count} [dict size $rows] $before]
        }
        6 {
            set number [fuzz::below 8]
            return [expect [list lsort [list Mirror search -compare [list [list > i $number]] -columns k -lists 1]] [above $number] $before]
        }
        7 {
            set number [fuzz::below 6]
            set keys [above $number]
            if {[fuzz::once_in 2]} {
                foreach key $keys {dict unset rows $key}
                return [expect [list Mirror search -compare [list [list > i $number]] -delete 1] [llength $keys] $before]
            }
            foreach key $keys {dict set rows $key w 5}
            return [expect [list Mirror search -compare [list [list > i $number]] -update {w 5}] [llength $keys] $before]
        }
        8 {
            # All or nothing.
            set operations {}
            set results {}
            for {set n [fuzz::below 4]} {$n >= 0} {incr n -1} {
                lassign [change] words expected
                lappend operations $words
                lappend results $expected
            }
            if {"error" in $results} {set results error}
            return [expect [list Mirror batch $operations] $results $before]
        }
        9 {
            # A transaction, with another one within, each of which may fail.
            set lines {}
            foreach depth {1 2} {
                lassign [change] words expected
                if {$expected eq "error"} {set words [list count]; }
                lappend lines "Mirror $words"
            }
            if {[fuzz::once_in 3]} {
                set middle $rows
                lassign [change] words expected
                if {$expected eq "error"} {set words [list count]}
                set rows $middle
                lappend lines "catch {aerostore::transaction {Mirror $words; error undone {} {FUZZ UNDONE}}}"
            }
            if {[fuzz::once_in 3]} {
                lappend lines {error undone {} {FUZZ UNDONE}}
                return [expect [list aerostore::transaction [join $lines \n]] error $before]
            }
            lappend lines {set done 1}
            return [expect [list aerostore::transaction [join $lines \n]] 1 $before]
        }
        10 {
            set lines {aerostore::begin}
            lassign [change] words expected
            if {$expected eq "error"} {set words count}
            set middle $rows
            lappend lines "Mirror $words" {aerostore::savepoint a}
            lassign [change] words expected
            if {$expected eq "error"} {set words count}
            lappend lines "Mirror $words"
            if {[fuzz::once_in 2]} {
                lappend lines {aerostore::rollback_to a}
                set rows $middle
            }
            if {[fuzz::once_in 2]} {
                lappend lines aerostore::rollback {set done 1}
                set rows $before
            } else {
                lappend lines aerostore::commit {set done 1}
            }
            return [expect [list eval [join $lines \n]] 1 $before]
        }
        11 {
            set text {}
            for {set n [fuzz::below 4]} {$n >= 0} {incr n -1} {
                set key [key]
                set number [fuzz::below 20]
                dict set rows $key i $number
                append text "$key\t$number\n"
            }
            set count [expr {[llength [split $text \n]] - 1}]
            return [expect [list dict get [list Mirror ingest_tsv $text 2 -columns {k i}] rows] $count $before]
        }
        12 {
            set keys [lsort [lmap key [dict keys $rows m1*] {set key}]]
            return [expect {lsort {Mirror names m1*}} $keys $before]
        }
        13 {
            set column [fuzz::one_of {w d}]
            return [expect [list eval "if {{$column} in \[Mirror index list\]} {Mirror index drop $column} else {Mirror index create $column}"] {} $before]
        }
    }
}

# Runs the command in the mirror's interpreter; the inner command of `lsort` and `dict get` is its second word.
proc mirror::expect {command expected before} {
    variable rows
    variable interp
    child::open_standard
    switch [lindex $command 0] {
        lsort {set script "lsort \[[lindex $command 1]\]"}
        dict {set script "dict get \[[lindex $command 2]\] [lindex $command 3]"}
        eval {set script [lindex $command 1]}
        default {set script $command}
    }
    child::note "mirror: $script"
    set failed [catch {interp eval $interp $script} result options]
    set code [expr {$failed ? [dict get $options -errorcode] : {}}]
    if {$failed} {
        set rows $before
        set fault [oracle::fault $code $result]
        if {$fault ne {}} {child::report "$fault: $code: $result, from $script"}
        # The database may be full of what others wrote, and they may hold snapshots to be young; then nothing has changed.
        if {[lindex $code 1] in {SPACE REVOKED}} {
            catch {interp eval $interp aerostore::rollback}
            return
        }
    }
    if {$expected eq "error"} {
        if {!$failed} {child::report "no error, but {$result}, from $script"}
    } elseif {$failed} {
        child::report "error {$result} ($code) and not {$expected}, from $script"
    } elseif {$result ne $expected} {
        child::report "{$result} and not {$expected}, from $script"
    }
}

# Compares the whole table; what differs is reported.
proc mirror::compare {when} {
    variable rows
    variable interp
    child::open_standard
    set have [lsort [interp eval $interp {Mirror search -lists 1}]]
    set want [lsort [lmap key [dict keys $rows] {listed $key}]]
    if {$have ne $want} {
        child::report "$when the table is {$have} and not {$want}"
    }
}
