# Searches all the time, and answers questions in between: `figures`, `digest`, `top COLUMN N`, `box SOUTH NORTH WEST EAST`,
# `row KEY`, `any`. The answer to `figures` is the number of searches so far, the rows found by the last full one, and mean and
# slowest time in microseconds since it was asked before.

source [file join [file dirname [info script]] process.tcl]

set searches 0
set rows 0
set times {}

proc search_live {} {
    timed {set ::rows [FlightState search -countOnly 1]}
    timed {FlightState search -compare {{notnull altitude}} -sort -altitude -limit 1 -lists 1}
    timed {FlightState search -compare {{between lat 46 47} {between lon 7 9}} -countOnly 1}
    after 10 search_live
}

proc timed {script} {
    set started [clock microseconds]
    uplevel 1 $script
    lappend ::times [expr {[clock microseconds] - $started}]
    incr ::searches
}

proc figures {} {
    set times [expr {[llength $::times] ? $::times : 0}]
    set ::times {}
    list $::searches $::rows [expr {[tcl::mathop::+ {*}$times] / [llength $times]}] [tcl::mathfunc::max {*}$times]
}

proc obey {} {
    if {[gets stdin line] < 0} {
        if {[eof stdin]} exit
        return
    }
    switch [lindex $line 0] {
        figures {say figures {*}[figures]}
        digest {say digest {*}[digest]}
        top {
            lassign $line - column count
            say top {*}[FlightState search -compare [list [list notnull $column]] -sort -$column -limit $count -lists 1]
        }
        box {
            lassign $line - south north west east
            set terms [list [list between lat $south $north] [list between lon $west $east]]
            say box {*}[FlightState search -compare $terms -sort -altitude -columns {flight_id lat lon altitude} -lists 1]
        }
        row {say row {*}[FlightState array_get [lindex $line 1]]}
        any {say any [lindex [FlightState search -limit 1 -lists 1] 0 0]}
    }
}

fconfigure stdin -blocking 0 -buffering line
fileevent stdin readable obey
say attached [dict get $boot boot]
search_live
vwait forever
