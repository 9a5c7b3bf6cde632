# What the demo's processes do at their start: find the package, open the database.
#
# Each one is run as `tclsh SCRIPT DATA_DIRECTORY MAPPING ...`, reads commands line by line from its standard input, and
# answers with one line each.

lappend auto_path $env(AEROSTORE_PACKAGES)
package require aerostore
source [file join [file dirname [info script]] positions.tcl]

fconfigure stdout -buffering line
lassign $argv directory mapping
set boot [aerostore::init $directory -shm $mapping]

# A line that is a Tcl list.
proc say {args} {
    puts $args
}

# Rows and checksum of the table.
proc digest {} {
    set rows {}
    set count [FlightState search -array row -code {
        lappend rows [lmap column $::positions::columns {
            expr {[info exists row($column)] ? $row($column) : ""}
        }]
        unset row
    }]
    list $count [checksum [contents_of $rows]]
}
