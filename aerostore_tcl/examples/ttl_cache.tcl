#!/usr/bin/env tclsh
# A cache for all processes of a machine: rows go by themselves when they are too old.
#
#   tclsh ttl_cache.tcl ?directory?

source [file join [file dirname [file normalize [info script]]] place.tcl]

# The value of a key: from the cache, or made by the script and put there.
proc cached {key script} {
    set found [Cache get $key value]
    if {[llength $found]} {
        return [lindex $found 0]
    }
    set value [uplevel 1 $script]
    Cache set $key value $value made [clock seconds]
    return $value
}

proc main {} {
    aerostore::define Cache {
        {key name}
        {string value}
        {timestamp made -notnull -index ordered}
    } -ttl {made 2}
    set calls 0
    foreach time {first second} {
        puts "$time time: [cached weather {incr calls; string cat sunny}], made $calls times"
    }
    set deadline [expr {[clock seconds] + 30}]
    while {[Cache exists weather] && [clock seconds] < $deadline} {
        after 100
    }
    puts "after two seconds: [expr {[Cache exists weather] ? "still there" : "gone"}]"
    puts "third time: [cached weather {incr calls; string cat rainy}], made $calls times"
    aerostore::drop Cache
}

example
