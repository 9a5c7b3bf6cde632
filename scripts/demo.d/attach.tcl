# Opens the database, says how it came up and what is in it, and leaves.

source [file join [file dirname [info script]] process.tcl]
say boot [dict get $boot boot] [dict get $boot rows] [dict get $boot reaped] [dict get $boot elapsed_us] \
    [dict get $boot loaded] [dict get $boot replayed]
set started [clock microseconds]
FlightState search -limit 1 -countOnly 1
say first_search [expr {[clock microseconds] - $started}]
say digest {*}[digest]
aerostore::close
