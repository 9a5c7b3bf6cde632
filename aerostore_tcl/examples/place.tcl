# Where an example's database is: the directory given as its argument, which stays; else one of its own, removed at the end.
# Other processes of the example are started with the same place.

package require aerostore

# Opens the database; calls the example's `process` with further arguments in the processes that it starts, else its `main`.
proc example {} {
    global argv directory mapping
    if {[lindex $argv 0] eq "-process"} {
        lassign $argv - directory mapping
        fconfigure stdout -buffering line
        open_database
        process {*}[lrange $argv 3 end]
        aerostore::close
        return
    }
    set own [expr {[llength $argv] == 0}]
    if {$own} {
        set channel [file tempfile directory aerostore-example]
        close $channel
        file delete $directory
        set mapping [file join /dev/shm [file tail $directory].mmap]
    } else {
        set directory [file normalize [lindex $argv 0]]
        set mapping $directory.mmap
    }
    try {
        open_database
        main
        aerostore::close
    } finally {
        if {$own} {
            file delete -force $directory $mapping
        }
    }
}

proc open_database {} {
    global directory mapping
    aerostore::init $directory -shm $mapping -config {aerostore.synchronous_commit off}
}

# Starts a process of the example; what it prints is read from the channel, and what is written to the channel is its standard input.
proc start {args} {
    global argv0 directory mapping
    set words [list [info nameofexecutable] $argv0 -process $directory $mapping {*}$args 2>@stderr]
    set channel [open |$words r+]
    fconfigure $channel -buffering line
    return $channel
}
