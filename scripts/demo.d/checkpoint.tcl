# Opens the database, takes a checkpoint, and stays until it is killed.

source [file join [file dirname [info script]] process.tcl]
set taken [aerostore::checkpoint_now]
say checkpoint [dict get $taken rows] [dict get $taken bytes] [dict get $taken elapsed_us]
vwait forever
