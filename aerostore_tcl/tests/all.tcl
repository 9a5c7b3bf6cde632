# Runs every .test file here against the package, installed into a temporary folder of auto_path.
#
#   tclsh all.tcl ?tcltest options?
#
# The library is the file named by AEROSTORE_TCL_LIBRARY, else the newest one that cargo has built. Each file runs in a
# process of its own. Exits with 1 when anything failed.

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

set tests [file dirname [file normalize [info script]]]
set folder [install_package]
set env(AEROSTORE_TEST_PACKAGES) $folder
tcltest::configure -testdir $tests -tmpdir $folder -file *.test {*}$argv
set failed [tcltest::runAllTests]
file delete -force $folder
exit [expr {[string is true -strict $failed] || $tcltest::numTests(Failed) > 0 ? 1 : 0}]
