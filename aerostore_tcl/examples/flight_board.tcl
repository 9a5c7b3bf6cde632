#!/usr/bin/env tclsh
# A live flight board: two processes report positions, and this one shows the highest flights whenever something changes, without asking.
#
#   tclsh flight_board.tcl ?directory?

source [file join [file dirname [file normalize [info script]]] place.tcl]

set flights_each 20
set reports_each 1000

# A source of reports: its flights climb and sink.
proc process {airline} {
    for {set report 0} {$report < $::reports_each} {incr report} {
        set flight $airline[expr {$report % $::flights_each}]
        FlightState set $flight altitude [expr {30000 + int(10000 * sin($report / 50.0))}] updated_at [clock seconds]
        if {$report % 10 == 0} {
            after 10
        }
    }
    puts done
}

# The board is a copy of what interests it, kept by events alone.
proc changed {op key old new commit_ts} {
    global altitude changes
    switch $op {
        insert - update {
            set altitude($key) [dict get $new altitude]
        }
        delete {
            unset -nocomplain altitude($key)
        }
        gap {
            # Too much at once: what was left out is read anew.
            read_all
        }
    }
    incr changes
    # On a terminal, five times a second at most.
    if {$::is_terminal && [llength [after info]] == 0} {
        after 200 show
    }
}

proc read_all {} {
    global altitude
    array unset altitude
    FlightState search -compare {{> altitude 35000}} -columns altitude -key key -get row -code {
        set altitude($key) [lindex $row 0]
    }
}

proc show {} {
    global altitude
    if {$::is_terminal} {
        puts -nonewline "\033\[H\033\[J"
    }
    foreach {key feet} [lrange [lsort -stride 2 -index 1 -integer -decreasing [array get altitude]] 0 9] {
        puts [format "%-8s %6d ft" $key $feet]
    }
}

proc finished {channel} {
    gets $channel
    close $channel
    incr ::running -1
}

proc main {} {
    global altitude changes running
    array set altitude {}
    set changes 0
    set ::is_terminal [expr {![catch {exec test -t 1 >@stdout}]}]
    set token [FlightState watch -compare {{> altitude 35000}} -columns altitude changed]
    read_all
    set running 0
    foreach airline {SWR DLH} {
        set channel [start $airline]
        fileevent $channel readable [list finished $channel]
        incr running
    }
    while {$running > 0} {
        vwait running
    }
    # The reports are on the disk a moment after their writers have ended.
    set deadline [expr {[clock seconds] + 30}]
    while {![same] && [clock seconds] < $deadline} {
        after 20 {set tick 1}
        vwait tick
    }
    FlightState unwatch $token
    show
    puts "the board is the table: [expr {[same] ? "yes" : "no"}]"
    puts "changes seen:           [expr {$changes > 0 ? "some" : "none"}]"
}

# Does the board have what the table has?
proc same {} {
    global altitude
    set table {}
    FlightState search -compare {{> altitude 35000}} -columns altitude -key key -get row -code {
        lappend table $key [lindex $row 0]
    }
    expr {[lsort -stride 2 $table] eq [lsort -stride 2 [array get altitude]]}
}

example
