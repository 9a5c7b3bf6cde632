# One round: random commands in interpreters of this process, from a seed. Started by run.tcl, which looks after it.
#
#   tclsh child.tcl soup SEED COMMANDS PLACE     runs so many commands
#   tclsh child.tcl guest SEED COMMANDS PLACE    the same beside another that does so, without the table of the mirror
#   tclsh child.tcl replay LOG PLACE             runs those of a log
#   tclsh child.tcl check PLACE                  what is there afterwards, warm and cold, is what it should be
#
# PLACE is a folder; the mapping's file is that of AEROSTORE_SHM_PATH. Commands are written to PLACE/log before they are run, each
# as {INTERPRETER SCRIPT}. A line of the standard output that begins with FAULT is one; the others say that there is progress.

set here [file dirname [file normalize [info script]]]
foreach file {values grammar oracle mirror} {source [file join $here $file.tcl]}
lappend auto_path $env(AEROSTORE_TEST_PACKAGES)
package require aerostore

set limit [expr {[info exists env(AEROSTORE_FUZZ_FAULTS)] ? $env(AEROSTORE_FUZZ_FAULTS) : 20}]
namespace eval child {
    variable place
    variable faults 0
    variable depth 0
    variable channels {}
    variable library [lindex [glob -directory $env(AEROSTORE_TEST_PACKAGES) */libaerostore_tcl.so] 0]
    variable names {S1 S2 S3}
    # How often commands ended well, and with errors of which kinds.
    variable ends {}
    # Whether a command of the mirror runs, within which none of it is to run; in a guest never.
    variable mirroring 0
    # Tables that are there from the first, and again after somebody has dropped them.
    variable tables {
        T0 {{key id} {int i -index ordered} {wide w} {string s -index hash} {double d} {bool b} {char c} {short st} {float f} {timestamp ts} {inet ip}}
        T1 {{int i -index ordered} {wide w -unique} {timestamp ts -index ordered -default 5} {fixedstring fx -length 8} {short st -notnull -default 1}
            {string s -length 100 -index ordered} {bool b}}
        T2 {{key id -length 24} {string s -length 100 -alias alias_a} {float f} {char c} {inet ip -index ordered} {mac mac} {timestamp_us tu} {int i}}
        T3 {{key id} {int i -index ordered} {wide w -unique} {string s -index ordered} {varstring c -notnull -default x} {double d -index ordered}
            {fixedstring fx -length 4}}
    }
}

proc child::note {text} {
    variable log
    puts $log $text
    flush $log
}

proc child::report {text} {
    variable faults
    puts "FAULT $text"
    flush stdout
    if {[incr faults] >= $::limit} {exit 3}
}

# Opens the database as it is to be, whatever others have opened.
proc child::open_standard {} {
    set script {aerostore::init $::z::dir -shm $::z::shm -size 134217728 -readonly 0 -config {
        aerostore.synchronous_commit off aerostore.lock_timeout 20 aerostore.retry_limit 3 aerostore.idle_in_transaction_timeout 0
        aerostore.max_snapshot_age 0}}
    if {[catch {interp eval M $script}]} {
        interp eval M {aerostore::close}
        if {[catch {interp eval M $script} message options]} {
            report "the database does not open: [dict get $options -errorcode]: $message"
            exit 3
        }
    }
}

# Makes an interpreter with the package and what random words call, if it is not there.
proc child::make {name} {
    variable unpacked
    variable library
    variable place
    variable shm
    if {[interp exists $name]} {
        # When the package was taken out, Tcl does not put it in again while others have it.
        if {![info exists unpacked($name)] || [is_traced $name]} {return}
        interp delete $name
    }
    unset -nocomplain unpacked($name)
    if {[lindex $name end] eq "S3"} {interp create -safe $name} else {interp create $name}
    interp recursionlimit $name 200
    interp alias $name die {} child::die $name
    interp alias $name nest {} child::make [concat $name inner]
    interp alias $name other {} child::other
    interp alias $name limit {} child::limit $name
    interp alias $name mirror {} child::mirror_step
    interp alias $name leave {} child::leave
    interp alias $name judge {} child::judge $name
    variable running
    set running($name) 0
    interp alias $name tracing {} child::tracing $name
    interp alias $name unpack {} child::unpack $name
    interp alias $name channel {} child::channel $name
    interp alias $name dataset {} child::dataset
    # Not procedures inside, as safe interpreters have no encodings.
    interp alias $name text {} child::text
    interp alias $name raw {} child::raw
    interp alias $name lone {} child::lone
    interp alias $name bytes {} child::bytes
    load $library Aerostore $name
    interp eval $name [list namespace eval ::z [list set dir [file join $place db]]]
    interp eval $name [list namespace eval ::z [list set shm $shm]]
    interp eval $name $::inside
}

# Text of so many bytes in UTF-8; bytes that are no text, as if they were; half a surrogate pair; a value of bytes.
proc child::text {{digits {}}} {encoding convertfrom utf-8 [binary format H* $digits]}
proc child::raw {{digits {}}} {encoding convertfrom identity [binary format H* $digits]}
proc child::lone {digits} {subst \\u$digits}
proc child::bytes {{digits {}}} {binary format H* $digits}

proc child::die {self name} {
    switch $name {
        self {set name $self}
        inner {set name [concat $self inner]}
    }
    # Tcl 8.6 aborts when an interpreter goes within an execution trace.
    if {[interp exists $name] && ![is_traced $name]} {interp delete $name}
}

proc child::unpack {name} {
    variable library
    variable unpacked
    if {![info exists unpacked($name)]} {
        set unpacked($name) 1
        unload $library Aerostore $name
    }
}

# An execution trace begins or ends in the interpreter; how many are running in it.
proc child::tracing {name more} {
    variable running
    incr running($name) $more
}

proc child::is_traced {name} {
    foreach inner [interp slaves $name] {
        if {[is_traced [concat $name $inner]]} {return 1}
    }
    variable running
    expr {[info exists running($name)] && $running($name) > 0}
}

proc child::other {name script} {
    variable depth
    if {$depth > 4} {return}
    make $name
    incr depth
    set code [catch {interp eval $name $script} result options]
    incr depth -1
    return -options $options $result
}

proc child::limit {name commands} {
    if {[interp exists $name]} {
        interp limit $name commands -value [expr {[interp eval $name {info cmdcount}] + $commands}]
    }
}

proc child::no_limit {name} {
    if {[interp exists $name]} {interp limit $name commands -value {}}
}

# The mirror's commands are made up as they are run, and may be called from within any script but their own.
proc child::mirror_step {} {
    variable mirroring
    if {$mirroring} {return}
    set mirroring 1
    # Chance of its own, so that the other commands do not depend on how often a script gets here.
    set seed $fuzz::seed
    set fuzz::seed $mirror::seed
    mirror::step
    set mirror::seed $fuzz::seed
    set fuzz::seed $seed
    set mirroring 0
    return
}

proc child::channel {name kind} {
    variable channels
    variable place
    if {$kind eq "last"} {return [lindex $channels end]}
    set file [file join $place data.tsv]
    switch $kind {
        r - rb - utf16 - closed - nonblocking {set channel [open $file r]}
        w {set channel [open [file join $place out] w]}
        wb {set channel [open [file join $place out] wb]}
        rw {set channel [open [file join $place inout] w+]}
        empty {set channel [open /dev/null r]}
        default {return nothing}
    }
    switch $kind {
        rb {fconfigure $channel -translation binary}
        utf16 {fconfigure $channel -encoding unicode}
        nonblocking {fconfigure $channel -blocking 0}
    }
    if {$kind eq "closed"} {
        close $channel
        return $channel
    }
    interp transfer {} $channel $name
    lappend channels $channel
    if {[llength $channels] > 8} {
        set old [lindex $channels 0]
        set channels [lrange $channels 1 end]
        foreach other {S1 S2 S3} {catch {interp eval $other [list close $old]}}
    }
    return $channel
}

proc child::dataset {kind} {
    variable place
    file join $place data.tsv[expr {$kind eq "plain" ? {} : ".$kind"}]
}

# Looks at an error that nobody has caught.
proc child::judge {where code text} {
    set fault [oracle::fault $code $text]
    if {$fault ne {}} {report "$fault: {$code} $text, in the background of $where"}
}

proc child::run {name script} {
    variable ends
    make $name
    set code [catch {interp eval $name $script} result options]
    no_limit $name
    if {$code != 1} {
        dict incr ends good
        return
    }
    set error_code [dict get $options -errorcode]
    dict incr ends [lindex $error_code [expr {[lindex $error_code 0] eq "AEROSTORE"}]]
    set fault [oracle::fault $error_code $result]
    if {$fault ne {}} {report "$fault: {$error_code} $result\n  from $name: $script\n[dict get $options -errorinfo]"}
}

# Opens the database and makes the tables that are not there.
proc child::restore {} {
    variable tables
    open_standard
    foreach {table definition} $tables {
        if {$table ni [interp eval M aerostore::tables]} {
            catch {interp eval M [list aerostore::define $table $definition]}
        }
    }
}

proc child::soup {seed commands} {
    variable names
    variable place
    set fuzz::seed $seed
    set mirror::seed [expr {~$seed}]
    for {set i 0} {$i < $commands} {incr i} {
        if {$i % 100 == 0} {puts "at $i"}
        if {[fuzz::once_in 10]} {
            for {set times [fuzz::below 5]} {$times >= 0} {incr times -1} {step mirror {}}
        } elseif {[fuzz::once_in 10]} {
            step restore {}
        } else {
            set name [fuzz::one_of $names]
            set script [fuzz::script]
            if {[fuzz::once_in 12]} {set script "update"}
            step $name $script
        }
    }
}

proc child::step {name script} {
    if {$name eq "mirror"} {
        note "mirror:"
        mirror_step
    } elseif {$name eq "restore"} {
        note [list $name $script]
        restore
    } else {
        note [list $name $script]
        run $name $script
    }
}

# Runs the commands of a log again.
proc child::replay {log} {
    set record {}
    foreach line [split [read_file $log] \n] {
        append record $line
        if {![info complete $record]} {
            append record \n
            continue
        }
        if {[llength $record] == 2 && [lindex $record 0] ne "mirror:"} {step {*}$record}
        set record {}
    }
}

# All rows of all tables.
proc child::dump {} {
    open_standard
    set tables {}
    foreach table [interp eval M aerostore::tables] {
        # Rows of that one go by themselves.
        if {$table eq "L0"} {continue}
        set rows [lsort [interp eval M [list $table search -lists 1]]]
        lappend tables $table [interp eval M [list $table schema]] $rows
    }
    return $tables
}

proc child::prepare {} {
    variable place
    variable shm $::env(AEROSTORE_SHM_PATH)
    set channel [open [file join $::here inside.tcl]]
    set ::inside [read $channel]
    close $channel
    interp create M
    load $child::library Aerostore M
    interp eval M [list namespace eval ::z [list set dir [file join $place db]]]
    interp eval M [list namespace eval ::z [list set shm $shm]]
    open_standard
    interp eval M [list aerostore::define Mirror $mirror::definition]
}

proc child::write_file {name bytes} {
    variable place
    set channel [open [file join $place $name] wb]
    puts -nonewline $channel $bytes
    close $channel
}

proc child::read_file {name} {
    variable place
    set channel [open [file join $place $name] rb]
    set bytes [read $channel]
    close $channel
    return $bytes
}

proc child::main {mode args} {
    variable place [file normalize [lindex $args end]]
    variable log [open [file join $place log.$mode] w]
    variable faults
    variable mirroring
    cd $place
    prepare
    switch $mode {
        soup - guest - replay {
            restore
            set lines {}
            for {set i 0} {$i < 50} {incr i} {append lines "key[expr {$i % 12}]\t$i\t$i\t$i\t$i\t$i\n"}
            write_file data.tsv $lines
            write_file data.tsv.gz [zlib gzip $lines]
            write_file data.tsv.bad.gz [string range [zlib gzip $lines] 0 30]
            write_file data.tsv.bad.zst $lines
            if {$mode eq "replay"} {
                replay [lindex $args 0]
                exit [expr {$faults ? 3 : 0}]
            }
            if {$mode eq "guest"} {
                set mirroring 1
                soup {*}[lrange $args 0 1]
                exit [expr {$faults ? 3 : 0}]
            }
            foreach what [fuzz::unknown] {report "grammar.tcl has no rule for: $what"}
            soup {*}[lrange $args 0 1]
            note end
            puts "ENDS $child::ends"
            mirror::compare "in the end"
            write_file mirror [encoding convertto utf-8 $mirror::rows]
            # How it ends: in order, at once in the middle of everything, or killed.
            if {$faults} {exit 3}
            puts "at the end"
            flush stdout
            set seed [lindex $args 0]
            switch [expr {$seed % 4}] {
                0 {exit 0}
                1 {
                    make S1
                    catch {interp eval S1 {
                        aerostore::begin
                        FlightState watch {::z::watcher {}}
                        FlightState cursor
                        FlightState set key1 lat 1
                        FlightState search -code {aerostore::savepoint s; leave}
                    }}
                    exit 0
                }
                2 {foreach name [interp slaves] {interp delete $name}; exit 0}
                3 {exec kill -9 [pid]}
            }
        }
        check {
            set mirror::rows [encoding convertfrom utf-8 [read_file mirror]]
            mirror::compare "after a warm start"
            set warm [dump]
            interp eval M aerostore::close
            file delete [set child::shm]
            mirror::compare "after a cold start"
            set cold [dump]
            if {$warm ne $cold} {
                foreach {table schema rows} $warm {other other_schema other_rows} $cold {
                    if {$table ne $other || $schema ne $other_schema || $rows ne $other_rows} {
                        report "a cold start makes of $table {$schema} {$rows}\n  $other {$other_schema} {$other_rows}"
                    }
                }
            }
            exit [expr {$faults ? 3 : 0}]
        }
    }
}

proc child::leave {} {exit 0}

child::main {*}$argv
