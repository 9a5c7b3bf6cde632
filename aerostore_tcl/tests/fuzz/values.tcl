# Words for random commands, as source: a word is text that a script may contain, such as `gs`, `[list a b]` or `[text c3a4]`.
#
# Chance comes from a generator of numbers of our own, so that a seed gives the same commands everywhere.

namespace eval fuzz {
    variable seed 1
    # The table of the command that is being made up.
    variable chosen FlightState
}

# A number from 0 up to n, n not included.
proc fuzz::below {n} {
    variable seed
    set seed [expr {($seed * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF}]
    expr {($seed >> 33) % $n}
}

proc fuzz::one_of {choices} {
    lindex $choices [below [llength $choices]]
}

# One of the choices, or once in a while any value.
proc fuzz::mostly {choices} {
    if {[once_in 6]} {value} else {one_of $choices}
}

# True in one of n cases.
proc fuzz::once_in {n} {
    expr {[below $n] == 0}
}

# A word of whatever text: in hexadecimal digits where it cannot be written as it is.
proc fuzz::word {text} {
    if {[regexp {^[A-Za-z0-9_.:*<>=/+-]+$} $text]} {
        return $text
    }
    binary scan [encoding convertto utf-8 $text] H* digits
    return "\[text $digits\]"
}

# A word whose value is the list of the words' values.
proc fuzz::list_of {words} {
    return "\[list [join $words]\]"
}

# Values by kind. What stands for "shared n" is one and the same Tcl value each time.
proc fuzz::value {} {
    switch [below 22] {
        0 - 1 - 2 {return [below 100]}
        3 {return [expr {[below 2000000] - 1000000}]}
        4 {return [one_of {2147483647 -2147483648 2147483648 9223372036854775807 -9223372036854775808 9223372036854775808
            18446744073709551615 -1 0 32768 0x10 010 1e3 340282366920938463463374607431768211456 0b101}]}
        5 {return [expr {([below 2000000] - 1000000) / 1000.0}]}
        6 {return [one_of {1e308 -1e308 1e309 NaN Inf -Inf -NaN 1e-320 0.0 -0.0 .5 5. 1e400}]}
        7 {return [one_of {0 1 true false yes no on off tru Yes maybe}]}
        8 {return [word [one_of {"" {\N} " " " 12 " "a b" "a\tb" "a\nb" "{" "}" "\"" "\\" "$" "\[" ";" "#"}]]}
        9 {return [one_of {{[text c3a4c3b6]} {[text f09f9880]} {[lone d83d]} {[lone de00]} {[text 00]} {[text 610062]} {[raw ff]} {[raw c0]}
            {[raw e282]} {[raw 00]} {[raw 610062]} {[bytes ff00fe]} {[bytes 6161]} {[bytes 00]} {[bytes {}]}}]}
        10 {return "\[long [one_of {10 24 25 100 1024 1025 5000 70000}]\]"}
        11 {return [one_of {1.2.3.4 ::1 256.1.1.1 10.0.0.0/8 00:11:22:33:44:55 0:1:2 fe80::1%eth0}]}
        12 {return [one_of {1700000000 -1 4102444800 2024-01-01}]}
        13 {return [word "key[below 10]"]}
        14 {return [list_of [lmap i {1 2 3} {word [one_of {a b c 1 2 lat gs}]}]]}
        15 - 16 - 17 {return "\[shared [below 24]\]"}
        18 {return "\[as [one_of {list dict int double script index name command bytes text boolean channel regexp path}] [value]\]"}
        19 {return [one_of {-limit -columns -sort -- - -desc -code -1 -key}]}
        20 {return [one_of {a* *b ? *a*b*c* {[text 5b61]} {[text 5b612d7a5d2a]} {[text 5c2a]} ***** }]}
        default {return [one_of {a b c aa ab abc AAL1 hello}]}
    }
}

proc fuzz::key {} {
    if {[once_in 12]} {return [value]}
    return "key[below 10]"
}

proc fuzz::integer {} {
    if {[once_in 8]} {return [value]}
    one_of {0 1 1 2 3 5 10 100 1000}
}

proc fuzz::flag {} {
    if {[once_in 10]} {return [value]}
    one_of {0 1 1 true no}
}

proc fuzz::glob {} {
    if {[once_in 6]} {return [value]}
    one_of {* key* key1 k?y* nothing {[text 5b6b5d65792a]} {[text 6b65795b302d345d]}}
}

proc fuzz::table {} {
    variable chosen
    if {[once_in 60]} {return [one_of {Nothing ::FlightState T9 {[text 00]} ::aerostore::Missing}]}
    set chosen [one_of {FlightState FlightState FlightState T0 T0 T1 T2 T3 L0}]
}

# A column, most often one that the table chosen last may have.
proc fuzz::column {} {
    variable chosen
    if {[once_in 25]} {return [value]}
    if {[once_in 20]} {return "\[shared [below 8]\]"}
    if {$chosen eq "FlightState"} {return [one_of {flight_id ident lat lon altitude alt gs updated_at}]}
    one_of {id b s i i w f d c st fx ts tu ip mac _key}
}

# A value that suits a column, or any.
proc fuzz::value_for {column} {
    if {[once_in 8]} {return [value]}
    switch $column {
        flight_id - ident - id {key}
        b {one_of {0 1 true no}}
        s - fx - c {one_of {a b xyz {[text c3a4]} {[text f09f9880]} {[text {}]} {[text 6120620963]} {[shared 3]}}}
        ip {one_of {1.2.3.4 ::1 10.0.0.1}}
        mac {one_of {00:11:22:33:44:55 aa:bb:cc:dd:ee:ff}}
        lat - lon - f - d {one_of {1.5 -2.25 0 {[text {}]} {[as int 3]} {[as double 1e3]}}}
        default {one_of {0 1 2 3 17 300 -5 1700000000 {[text 5c4e]} {[shared 9]} {[as int 12]}}}
    }
}

proc fuzz::columns {} {
    if {[once_in 20]} {return [value]}
    set words {}
    for {set n [below 4]} {$n >= 0} {incr n -1} {lappend words [column]}
    list_of $words
}

proc fuzz::pair_words {{most 3}} {
    set words {}
    for {set n [below $most]} {$n >= 0} {incr n -1} {
        set column [column]
        lappend words $column [value_for $column]
    }
    return $words
}

proc fuzz::term {} {
    if {[once_in 20]} {return [value]}
    set operator [one_of {= == != <> < <= > >= range between in notin match notmatch match_case notmatch_case prefix null notnull true false}]
    set column [column]
    set words [list $operator $column]
    switch $operator {
        range - between {lappend words [value_for $column] [value_for $column]}
        in - notin {lappend words [list_of [lmap i {1 2 3} {value_for $column}]]}
        match - notmatch - match_case - notmatch_case {lappend words [glob]}
        null - notnull - true - false {}
        default {lappend words [value_for $column]}
    }
    if {[once_in 40]} {lappend words [value]}
    if {[once_in 50]} {set words [lrange $words 0 end-1]}
    if {[once_in 60]} {lset words 0 [value]}
    list_of $words
}

proc fuzz::terms {} {
    if {[once_in 20]} {return [value]}
    set words {}
    for {set n [below 3]} {$n > 0} {incr n -1} {lappend words [term]}
    list_of $words
}

proc fuzz::sort_columns {} {
    if {[once_in 25]} {return [value]}
    set words {}
    for {set n [below 3]} {$n >= 0} {incr n -1} {
        set column [column]
        if {[once_in 2] && [regexp {^[a-z_]+$} $column]} {set column -$column}
        lappend words $column
    }
    list_of $words
}

proc fuzz::variable_name {} {
    if {[once_in 15]} {return [value]}
    one_of {x x y arr traced locked ::z::a arr(e) constant ::nowhere::x}
}

proc fuzz::savepoint_name {} {
    if {[once_in 8]} {return [value]}
    one_of {a a b c}
}

# A column of aerostore::define, each name of one type.
proc fuzz::definition {is_key} {
    if {[once_in 30]} {return [value]}
    set column [one_of {{bool b} {short st} {int i} {wide w} {long w} {float f} {double d} {char c} {string s} {varstring s} {fixedstring fx}
        {timestamp ts} {timestamp_us tu} {inet ip} {mac mac}}]
    set words $column
    if {$is_key} {
        set words [one_of {{key id} {string id -key} {int id -key 1} {wide id -key} {key id -length 24} {fixedstring id -length 8 -key} {inet id -key}
            {timestamp id -key}}]
        if {![once_in 4]} {return [list_of $words]}
    }
    if {[lindex $column 0] eq "fixedstring" && !$is_key} {lappend words -length [one_of {1 8 100}]}
    for {set n [below 3]} {$n > 0} {incr n -1} {
        switch [below 7] {
            0 - 1 {lappend words -index [one_of [list none hash ordered ordered [value]]]}
            2 {lappend words -unique {*}[one_of {{} 1 0}]}
            3 {lappend words -notnull {*}[one_of {{} 1 0}]}
            4 {lappend words -default [value]}
            5 {lappend words -alias [list_of [list [one_of {alias_a alias_b i}]]]}
            6 {lappend words -length [integer]}
        }
    }
    list_of $words
}

# A column of aerostore::alter.
proc fuzz::added {} {
    if {[once_in 10]} {return [definition [once_in 2]]}
    set words [list [one_of {bool short int long float double char string timestamp inet mac}] added_[below 12]]
    if {[once_in 3]} {lappend words -default [one_of [list 1 1.5 x 10.0.0.1 00:11:22:33:44:55 [value]]]}
    if {[once_in 8]} {lappend words -notnull}
    list_of $words
}

proc fuzz::definitions {} {
    if {[once_in 30]} {return [value]}
    set words {}
    if {![once_in 4]} {lappend words [definition 1]}
    for {set n [below 6]} {$n >= 0} {incr n -1} {lappend words [definition 0]}
    list_of $words
}

# Lines for an ingest of the built-in table; some are bad.
proc fuzz::lines {} {
    if {[once_in 10]} {return [value]}
    set text ""
    for {set n [below 6]} {$n >= 0} {incr n -1} {
        set fields [list key[below 10] [below 90] [expr {[below 360] - 180}] [below 40000] [below 500] 17000000[below 100]]
        if {[once_in 5]} {lset fields [below 6] [one_of {{} {\N} x 1e999 99999999999999 {a\tb} %09 %zz {\x41} "\u00e4" "\0" "\U1F600"}]}
        if {[once_in 8]} {set fields [lrange $fields 0 [below 6]]}
        append text [join $fields [expr {[once_in 20] ? "," : "\t"}]] [one_of [list \n \n \n \r\n \n\n ""]]
    }
    if {[once_in 12]} {set text "flight_id\tlat\tlon\taltitude\tgs\tupdated_at\n$text"}
    word $text
}

proc fuzz::channel {} {
    if {[once_in 12]} {return [value]}
    return "\[channel [one_of {r r r w w w rb wb rw empty nonblocking closed utf16}]\]"
}

# A command that stands for a result set of tdbc; it runs a script for each row.
proc fuzz::resultset {} {
    if {[once_in 12]} {return [value]}
    return "\[resultset [columns] [below 6] [braced]\]"
}

proc fuzz::path {} {
    one_of {/nowhere/at/all / {[text 00]} {[raw ff]} {} /dev/null {[dataset plain]} {[dataset gz]} {[dataset bad.gz]} {[dataset bad.zst]}}
}
