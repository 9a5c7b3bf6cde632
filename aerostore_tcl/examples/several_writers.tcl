#!/usr/bin/env tclsh
# Several writers: four processes update one table at once, one of them is killed, and nothing is lost or half done.
#
#   tclsh several_writers.tcl ?directory?

source [file join [file dirname [file normalize [info script]]] place.tcl]

set writers 4

# A writer: counts its own steps and everybody's, in one transaction, until it is told to stop.
proc process {name} {
    fconfigure stdin -blocking 0
    for {set step 1} {[gets stdin] eq "" && ![eof stdin]} {incr step} {
        aerostore::transaction {
            Steps incr $name done 1
            Steps incr all done 1
        }
        if {$step == 100} {
            puts ready
        }
    }
}

proc main {} {
    aerostore::define Steps {{key name} {wide done -notnull -default 0}}
    foreach name {all 1 2 3 4} {
        Steps set $name done 0
    }
    foreach name {1 2 3 4} {
        set channel($name) [start $name]
    }
    foreach name {1 2 3 4} {
        gets $channel($name)
    }
    # In the middle of its work, wherever that is just then.
    exec kill -9 [pid $channel(3)]
    catch {close $channel(3)}
    set then [Steps get all done]
    after 300
    puts "others went on:           [expr {[Steps get all done] > $then ? "yes" : "no"}]"
    foreach name {1 2 4} {
        puts $channel($name) stop
        close $channel($name)
    }
    set own 0
    foreach name {1 2 3 4} {
        incr own [Steps get $name done]
    }
    puts "each step counted twice:  [expr {$own == [Steps get all done] ? "yes" : "no"}]"
    puts "the killed one's stayed:  [expr {[Steps get 3 done] >= 100 ? "yes" : "no"}]"
    aerostore::drop Steps
}

example
