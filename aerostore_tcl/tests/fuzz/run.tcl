# Random commands against the installed package, for a while.
#
#   tclsh run.tcl ?-seconds N? ?-seed N? ?-rounds N? ?-commands N? ?-keep FOLDER?
#
#   -seconds   how long rounds are begun (default 60)
#   -seed      of the first round; the others count on from there (default: from the clock)
#   -rounds    so many, whatever the time
#   -commands  how many a round has (default 600)
#   -keep      where the log of a round goes that found something (default: the current folder)
#
# Each round is a process of its own, so that a crash, a panic and a hang are seen and reported, with the seed and the last commands. It
# ends in order, by `exit` in the middle of everything, or killed. Every third has a guest: another process that does the same on the same database
# meanwhile, and is killed. Then every block and row of the database is verified, by the program that
# AEROSTORE_VERIFY names, and what is there after a warm and a cold start is compared with what was to be expected. AEROSTORE_TEST_PACKAGES
# is the folder of auto_path that has the package. Exits with 1 when something was found.

package require Tcl 8.6

namespace eval run {
    variable options {-seconds 60 -seed {} -rounds 0 -commands 600 -keep .}
    variable here [file dirname [file normalize [info script]]]
    # After so long without a sign of a round it counts as stuck.
    variable patience_ms 60000
    variable faults {}
    # How commands ended, and how often.
    variable ends {}
    # What start_guest is to start: folder, seed and commands, or nothing.
    variable guest {}
}

# Runs one child; what is wrong goes to the list of faults. True when it ended as it should.
proc run::child {place expected args} {
    variable here
    variable patience_ms
    variable faults
    variable state
    set state running
    set command [list [info nameofexecutable] [file join $here child.tcl] {*}$args $place 2>[file join $place errors]]
    set channel [open |$command]
    fconfigure $channel -blocking 0
    fileevent $channel readable [list run::read $channel $patience_ms]
    variable watchdog [after $patience_ms {set run::state stuck}]
    while {$state eq "running"} {vwait run::state}
    after cancel $watchdog
    if {$state eq "stuck"} {
        lappend faults "no sign of life for [expr {$patience_ms / 1000}] s"
        exec kill -ABRT [pid $channel]
    }
    fconfigure $channel -blocking 1
    set ended ok
    if {[catch {close $channel} message options]} {
        switch [lindex [dict get $options -errorcode] 0] {
            CHILDKILLED {set ended [lindex [dict get $options -errorcode] 2]}
            CHILDSTATUS {set ended "exit [lindex [dict get $options -errorcode] 2]"}
            default {set ended $message}
        }
    }
    set errors [open [file join $place errors]]
    set text [::read $errors]
    close $errors
    # What Tcl itself says of an `after` script that has deleted its interpreter.
    regsub -all {error in background error handler:\nattempt to call eval in deleted interpreter\n    while executing\n"[^\n]*"\n} $text {} text
    if {[string trim $text] ne {}} {lappend faults "standard error: $text"}
    if {$ended ni $expected && !($ended eq "exit 3" && [llength $faults])} {
        lappend faults "the process ended so: $ended"
    }
    expr {![llength $faults]}
}

proc run::read {channel patience_ms} {
    variable state
    variable faults
    variable watchdog
    variable ends
    after cancel $watchdog
    set watchdog [after $patience_ms {set run::state stuck}]
    while {[gets $channel line] >= 0} {
        if {[string match {ENDS *} $line]} {
            foreach {end count} [lrange $line 1 end] {dict incr ends $end $count}
        } elseif {[string match {FAULT *} $line]} {
            lappend faults [string range $line 6 end]
        } elseif {[string match {at *} $line]} {
            if {$line eq "at 0"} start_guest
        } elseif {[llength $faults]} {
            # More lines of the last one.
            lset faults end "[lindex $faults end]\n$line"
        }
    }
    if {[eof $channel]} {set state ended}
}

# Has another process run random commands on the same database from now on, if the round is to have one.
proc run::start_guest {} {
    variable here
    variable guest
    lassign $guest place seed commands
    if {$seed eq {}} {return}
    set guest {}
    variable guest_channel [open |[list [info nameofexecutable] [file join $here child.tcl] guest $seed $commands $place 2>[file join $place guest-errors]]]
    fconfigure $guest_channel -blocking 0
    fileevent $guest_channel readable [list run::read_guest $guest_channel]
}

proc run::read_guest {channel} {
    variable faults
    while {[gets $channel line] >= 0} {
        if {[string match {FAULT *} $line]} {lappend faults "the guest: [string range $line 6 end]"}
    }
    if {[eof $channel]} {fileevent $channel readable {}}
}

# Kills it, wherever it is.
proc run::end_guest {place} {
    variable guest_channel
    variable faults
    variable guest {}
    if {![info exists guest_channel]} {return}
    catch {exec kill -9 [pid $guest_channel]}
    fconfigure $guest_channel -blocking 1
    set ended ok
    if {[catch {close $guest_channel} message options]} {set ended [lindex [dict get $options -errorcode] 2]}
    unset guest_channel
    set channel [open [file join $place guest-errors]]
    set text [::read $channel]
    close $channel
    if {$ended ni {ok SIGKILL}} {lappend faults "the guest ended so: $ended"}
    if {[string trim $text] ne {}} {lappend faults "the guest's standard error: $text"}
}

# One round; true when nothing is wrong.
proc run::round {seed commands place} {
    variable faults {}
    set ::env(AEROSTORE_SHM_PATH) /dev/shm/aerostore-tclfuzz-[pid].mmap
    # As a process that is told to kill itself ends.
    set expected [expr {$seed % 4 == 3 ? "SIGKILL" : "ok"}]
    # Every third has a guest, so that what it does depends on more than the seed.
    if {$seed % 3 == 0} {variable guest [list $place [expr {$seed + 1000000007}] $commands]}
    child $place $expected soup $seed $commands
    end_guest $place
    set good [expr {![llength $faults]}]
    if {$good} {set good [verify $place "after the round"]}
    if {$good} {set good [child $place ok check]}
    if {$good} {set good [verify $place "after a cold start"]}
    return $good
}

proc run::verify {place when} {
    variable faults
    if {[catch {exec $::env(AEROSTORE_VERIFY) [file join $place db] $::env(AEROSTORE_SHM_PATH) 2>@1} text]} {
        lappend faults "$when the database is not sound: $text"
        return 0
    }
    return 1
}

# The last records of a log.
proc run::tail {file count} {
    set channel [open $file]
    set lines [split [::read $channel] \n]
    close $channel
    join [lrange $lines end-$count end] \n
}

proc run::main {arguments} {
    variable options
    variable faults
    set options [dict merge $options $arguments]
    dict with options {}
    if {${-seed} eq {}} {set -seed [expr {[clock milliseconds] % 1000000000}]}
    # On a tmpfs, where syncs cost nothing.
    set place /dev/shm/aerostore-tclfuzz-[pid]
    set until [expr {[clock milliseconds] + 1000 * ${-seconds}}]
    set seed ${-seed}
    set failed 0
    puts "first seed $seed"
    while {${-rounds} ? $seed < ${-seed} + ${-rounds} : [clock milliseconds] < $until} {
        file mkdir $place
        if {![round $seed ${-commands} $place]} {
            incr failed
            set kept [file join [file normalize ${-keep}] tclfuzz-$seed.log]
            file copy -force [file join $place log.soup] $kept
            if {[file exists [file join $place log.guest]]} {file copy -force [file join $place log.guest] $kept.guest}
            puts "seed $seed: FAILED"
            foreach fault $faults {puts "  $fault"}
            puts "the last commands, of $kept:\n[tail $kept 12]"
            puts "to repeat: tclsh [file normalize [info script]] -seed $seed -rounds 1 -commands ${-commands}"
            flush stdout
        }
        file delete -force $place {*}[glob -nocomplain $::env(AEROSTORE_SHM_PATH)*]
        incr seed
        if {$failed >= 5} break
    }
    set rounds [expr {$seed - ${-seed}}]
    variable ends
    puts "how commands ended: [lsort -stride 2 -index 1 -integer -decreasing $ends]"
    puts "tclfuzz: $rounds rounds of ${-commands} commands from seed ${-seed}: [expr {$failed ? "$failed failed" : "ok"}]"
    exit [expr {$failed > 0}]
}

run::main $argv
