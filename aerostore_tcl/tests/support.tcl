# What the test files share. all.tcl says where the package is; a file run by itself installs it the same way.

package require tcltest 2.3
namespace import -force tcltest::test

if {![info exists env(AEROSTORE_TEST_PACKAGES)]} {
    puts stderr "run this through all.tcl: tclsh all.tcl -file [file tail $argv0]"
    exit 1
}
lappend auto_path $env(AEROSTORE_TEST_PACKAGES)
package require aerostore

# A place of this process's own, and names of database files in it.
set place [tcltest::makeDirectory data-[pid]]
set shm_count 0
set shm_files {}

# Opens an empty database with commit mode off; more words go to aerostore::init.
proc fresh {args} {
    aerostore::close
    set n [incr ::shm_count]
    set ::dir [file join $::place db$n]
    set ::shm /dev/shm/aerostore-tcltest-[pid]-$n.mmap
    lappend ::shm_files $::shm
    aerostore::init $::dir -shm $::shm -size 268435456 -config {aerostore.synchronous_commit off} {*}$args
}

# Five flights, one of them with nothing known.
proc five_flights {} {
    fresh
    FlightState set AAL1 lat 40.5 lon -73.5 altitude 35000 gs 450 updated_at 1700000000
    FlightState set BAW2 lat 51.5 lon -0.5 altitude 12000 gs 300 updated_at 1700000010
    FlightState set DLH3 lat 50.0 lon 8.5 altitude 35000 gs 430 updated_at 1700000020
    FlightState set SWR4 lat 47.5 lon 8.25 altitude 0 gs 0 updated_at 1700000030
    FlightState set XXX5 {}
}

# The message of an error and its errorCode.
proc failure {script} {
    if {![catch {uplevel 1 $script} message options]} {
        return "no error: $message"
    }
    list $message [dict get $options -errorcode]
}

# Only the errorCode.
proc code_of {script} {
    lindex [uplevel 1 [list failure $script]] 1
}

# The keys of the rows that a search finds.
proc found {args} {
    set keys {}
    FlightState search {*}$args -key key -code {lappend keys $key}
    return $keys
}

# The name of the type in which Tcl holds a value.
proc type_of {value} {
    regexp {value is an? ([^ ]+)} [tcl::unsupported::representation $value] -> type
    return $type
}

# Runs a script in another process that has the package; its value is what that printed.
proc elsewhere {script} {
    set file [tcltest::makeFile "lappend auto_path [list $::env(AEROSTORE_TEST_PACKAGES)]
package require aerostore
$script" child-[pid].tcl]
    exec [info nameofexecutable] $file
}

# Starts a process that has the database open and runs a script; its standard output is the channel returned.
proc start {script} {
    set file [tcltest::makeFile "lappend auto_path [list $::env(AEROSTORE_TEST_PACKAGES)]
package require aerostore
aerostore::init [list $::dir] -shm [list $::shm] -config {aerostore.synchronous_commit off}
fconfigure stdout -buffering line
$script" child-[pid]-[clock clicks].tcl]
    open [list | [info nameofexecutable] $file 2>@1] r+
}

# Kills it without a chance to clean up.
proc kill9 {channel} {
    exec kill -9 [pid $channel]
    catch {close $channel}
}

# Compares line by line; a line of the pattern may have asterisks, which stand for anything.
tcltest::customMatch lines match_lines
proc match_lines {expected actual} {
    set expected [split $expected \n]
    set actual [split $actual \n]
    if {[llength $expected] != [llength $actual]} {
        return 0
    }
    foreach pattern $expected line $actual {
        if {![string match [string map {[ \\[ ] \\] ? \\? \\ \\\\} $pattern] $line]} {
            return 0
        }
    }
    return 1
}

proc finish {} {
    aerostore::close
    file delete -force {*}$::shm_files $::place
    tcltest::cleanupTests
}
