# Ingests a file of positions. Arguments after the usual ones: file, header (0 or 1), columns, reports per batch, pause in ms.
# Says `committed N` after each batch and `done` with the figures at the end.

source [file join [file dirname [info script]] process.tcl]
lassign [lrange $argv 2 end] path header columns batch pause

proc committed {figures} {
    say committed [dict get $figures rows]
    if {$::pause > 0} {after $::pause}
}
set figures [FlightState ingest_tsv -file $path $batch -header $header -columns $columns -progress committed]
say done [dict get $figures rows] [dict get $figures inserted] [dict get $figures updated]\
    [dict get $figures unchanged] [dict get $figures elapsed_us] [aerostore::get_config aerostore.synchronous_commit]
# What it wrote is durable when close returns.
aerostore::close
