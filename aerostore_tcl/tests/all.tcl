# Runs every .test file here against the package, installed into a temporary folder of auto_path.
#
#   tclsh all.tcl ?tcltest options?
#
# The library is the file named by AEROSTORE_TCL_LIBRARY, else the newest one that cargo has built. Each file runs in a
# process of its own, two of them at a time, as much of what they do is waiting. What a file printed is shown when it has
# ended. Exits with 1 when anything failed, or when a file did not come to its end.

package require Tcl 8.6
package require tcltest 2.3

proc find_library {} {
    if {[info exists ::env(AEROSTORE_TCL_LIBRARY)]} {
        return [file normalize $::env(AEROSTORE_TCL_LIBRARY)]
    }
    set target [file join [file dirname [info script]] .. .. target]
    if {[info exists ::env(CARGO_TARGET_DIR)]} {
        set target $::env(CARGO_TARGET_DIR)
    }
    set found {}
    foreach path [glob -nocomplain -directory $target {{debug,release}/libaerostore_tcl.so}] {
        lappend found [list [file mtime $path] [file normalize $path]]
    }
    if {![llength $found]} {
        puts stderr "no libaerostore_tcl.so in $target: cargo build -p aerostore_tcl"
        exit 1
    }
    lindex [lsort -integer -decreasing -index 0 $found] 0 1
}

proc install_package {} {
    set channel [file tempfile path aerostore_package]
    close $channel
    file delete $path
    set folder [file join $path aerostore]
    file mkdir $folder
    file copy [find_library] $folder
    file copy [file join [file dirname [info script]] .. pkgIndex.tcl] $folder
    return $path
}

# Takes what a file prints, and ends its turn when there is no more.
proc take {channel path} {
    append ::printed($path) [read $channel]
    if {![eof $channel]} {
        return
    }
    fconfigure $channel -blocking 1
    set how ""
    if {[catch {close $channel} message]} {
        set how $message
    }
    report $path $how
    incr ::running -1
}

# Shows what a file printed, and adds its tests to the sums.
proc report {path how} {
    puts [file tail $path]
    set ended 0
    foreach line [split [string trimright $::printed($path)] \n] {
        if {[regexp {^\S+:\tTotal\t(\d+)\tPassed\t(\d+)\tSkipped\t(\d+)\tFailed\t(\d+)} $line -> all passed skipped failed]} {
            set ended 1
            incr ::sums(Total) $all
            incr ::sums(Passed) $passed
            incr ::sums(Skipped) $skipped
            incr ::sums(Failed) $failed
        } else {
            puts $line
        }
    }
    if {!$ended || $how ne ""} {
        puts "[file tail $path] did not come to its end: $how"
        incr ::sums(Failed)
    }
    flush stdout
}

set tests [file dirname [file normalize [info script]]]
set folder [install_package]
set env(AEROSTORE_TEST_PACKAGES) $folder
tcltest::configure -testdir $tests -tmpdir $folder -file *.test {*}$argv
set paths {}
foreach pattern [tcltest::configure -file] {
    lappend paths {*}[glob -nocomplain -directory $tests $pattern]
}
array set sums {Total 0 Passed 0 Skipped 0 Failed 0}
set running 0
foreach path [lsort -unique $paths] {
    while {$running == 2} {
        vwait running
    }
    set printed($path) ""
    set own [file join $folder [file tail $path].d]
    file mkdir $own
    set channel [open |[list [info nameofexecutable] $path {*}$argv -tmpdir $own 2>@1] r]
    fconfigure $channel -blocking 0
    fileevent $channel readable [list take $channel $path]
    incr running
}
while {$running > 0} {
    vwait running
}
file delete -force $folder
puts "all.tcl:\tTotal\t$sums(Total)\tPassed\t$sums(Passed)\tSkipped\t$sums(Skipped)\tFailed\t$sums(Failed)"
exit [expr {$sums(Failed) > 0 || $sums(Total) == 0}]
