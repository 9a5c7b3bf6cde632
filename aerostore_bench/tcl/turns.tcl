# What the comparisons share: contenders that take turns, quantiles, and tables.

namespace eval turns {}

# A procedure that runs a script once for each item of a list, with $item set; [incr n] is a number that it has not had before.
proc turns::loop {name script} {
    proc $name {items n} "foreach item \$items {$script}"
}

# Runs the contenders in turns and gives microseconds an operation, in a dict of lists by contender.
#
#   rounds      how many turns of each
#   items       what operations are done with; a turn takes the next `size` of them, the same for all
#   contenders  a dict of name and script; each turn runs it for each item, in a loop that is the same for all
#   around      a dict of name and {before after}: scripts that are run around each turn of that contender, and not timed
proc turns::take {rounds items size contenders {around {}}} {
    set names [dict keys $contenders]
    foreach name $names {loop ::run_$name [dict get $contenders $name]}
    set total [llength $items]
    set at 0
    set n 0
    # The first round is not counted: it fills caches, and has procedures compiled and statements prepared.
    for {set round -1} {$round < $rounds} {incr round} {
        if {$at + $size > $total} {set at 0}
        set slice [lrange $items $at [expr {$at + $size - 1}]]
        incr at $size
        incr n [expr {10 * $size}]
        # Who begins changes, as the first of a round finds the caches as another has left them.
        set first [expr {$round % [llength $names]}]
        foreach name [concat [lrange $names $first end] [lrange $names 0 $first-1]] {
            set before {}
            set after {}
            if {[dict exists $around $name]} {lassign [dict get $around $name] before after}
            uplevel #0 $before
            set begin [clock microseconds]
            ::run_$name $slice $n
            set elapsed [expr {[clock microseconds] - $begin}]
            uplevel #0 $after
            if {$round >= 0} {lappend times($name) [expr {double($elapsed) / [llength $slice]}]}
        }
    }
    array get times
}

proc turns::quantile {values share} {
    lindex [lsort -real $values] [expr {round(([llength $values] - 1) * $share)}]
}

proc turns::median {values} {
    quantile $values 0.5
}

# The median over the rounds of how many times the other's time is ours.
proc turns::ratio {times ours other} {
    median [lmap a [dict get $times $ours] b [dict get $times $other] {expr {double($b) / $a}}]
}

# Three digits that count.
proc turns::figure {number} {
    if {$number >= 100} {return [format %.0f $number]}
    if {$number >= 10} {return [format %.1f $number]}
    if {$number >= 1} {return [format %.2f $number]}
    format %.3f $number
}

# Median and p99 of what a contender took.
proc turns::median_p99 {times name} {
    set values [dict get $times $name]
    return "[figure [median $values]], [figure [quantile $values 0.99]]"
}

# Prints rows of cells, columns aligned: the first to the left, others to the right.
proc turns::table {rows} {
    set widths {}
    foreach row $rows {
        set place 0
        foreach cell $row {
            if {$place >= [llength $widths]} {lappend widths 0}
            lset widths $place [expr {max([lindex $widths $place], [string length $cell])}]
            incr place
        }
    }
    foreach row $rows {
        set line {}
        set place 0
        foreach cell $row {
            lappend line [format %[expr {$place ? "" : "-"}][lindex $widths $place]s $cell]
            incr place
        }
        puts "  [string trimright [join $line "   "]]"
    }
}
