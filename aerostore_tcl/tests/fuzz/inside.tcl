# What interpreters under test are given: the procedures that random words call.
#
# shared N             the N-th value that all commands share
# as KIND VALUE        the value, after it was used as that
# Others are aliases that child.tcl makes.

namespace eval ::z {
    variable count 0 again 0 token watch0 cursor nothing a
    array set a {}
}
proc long {length} {string repeat x $length}
proc shared {n} {lindex $::z::shared $n}
proc cursor {} {return $::z::cursor}

proc ::z::make_shared {} {
    set ::z::shared {}
    foreach text {lat gs flight_id i s d id w key1 12 -1 1.5 {lat 1} {gs 5 lat 3} {} {> gs 3} {{> gs 3}} -limit search true T0 set stdout {incr ::z::count}} {
        # A value of its own, that no script has as a literal.
        lappend ::z::shared [string range "$text " 0 end-1]
    }
}
::z::make_shared

proc as {kind value} {
    switch $kind {
        list {catch {llength $value}}
        dict {catch {dict size $value}}
        int {catch {expr {$value + 0}}; catch {incr value 0}}
        double {catch {expr {$value * 1.0}}}
        boolean {catch {expr {!$value}}}
        script {catch {::z::careful $value}}
        index {catch {lindex {a b c} $value}}
        name {catch {namespace exists $value}}
        command {catch {info args $value}; catch {namespace which -command $value}}
        bytes {catch {binary scan $value c _}}
        text {catch {string index $value 1}}
        channel {catch {fconfigure $value}}
        regexp {catch {regexp -- $value abc}}
        path {catch {file exists $value}}
    }
    return $value
}
# As a script it only counts: what the value would do is not to be done here.
proc ::z::careful {value} {
    if {[llength $value] == 0 || [lindex $value 0] ni {incr}} {return}
    eval $value
}

proc ::z::watcher {script op key old new ts} {
    variable last [list $op $key $old $new $ts]
    uplevel #0 $script
}
proc ::z::traced {script args} {
    if {[tracing 1] < 3} {
        set code [catch {uplevel 1 $script} message options]
    }
    tracing -1
    if {[info exists code] && $code == 1} {return -options $options $message}
}
proc ::z::varied args {
    switch [expr {[incr ::z::count] % 12}] {
        0 {error trace {} {FUZZ TRACE}}
        1 {unset -nocomplain ::traced}
        2 {catch {aerostore::rollback}}
        3 {die self}
    }
}
trace add variable ::traced write ::z::varied
array set ::locked {}
array set ::arr {}
proc ::z::constant args {error constant {} {FUZZ CONSTANT}}
set ::constant 1
trace add variable ::constant write ::z::constant

# A result set as tdbc has them.
proc resultset {columns rows script} {
    set name ::z::rs[incr ::z::count]
    interp alias {} $name {} ::z::result $name $columns $script
    set ::z::left($name) $rows
    return $name
}
proc ::z::result {name columns script method args} {
    switch -- $method {
        columns {return $columns}
        nextdict {
            if {[incr ::z::left($name) -1] < 0} {return 0}
            uplevel #0 $script
            upvar 1 [lindex $args end] row
            set row {}
            foreach column $columns {dict set row $column key$::z::left($name)}
            return 1
        }
        default {error "bad method" {} {FUZZ METHOD}}
    }
}

# A channel made of a script.
proc reflected {mode script} {
    if {[catch {chan create $mode [list ::z::reflect $script]} channel]} {return nochannel}
    catch {fconfigure $channel -buffersize 64}
    lappend ::z::reflections $channel
    if {[llength $::z::reflections] > 5} {
        catch {close [lindex $::z::reflections 0]}
        set ::z::reflections [lrange $::z::reflections 1 end]
    }
    return $channel
}
proc ::z::reflect {script command channel args} {
    switch $command {
        initialize {set ::z::reads($channel) 3; return {initialize finalize watch read write}}
        read {
            # The end comes, however the script ends.
            if {[incr ::z::reads($channel) -1] < 0} {return ""}
            uplevel #0 $script
            return "key1\t1\t2\t3\t4\t5\n"
        }
        write {
            uplevel #0 $script
            return [string length [lindex $args 0]]
        }
    }
}

interp bgerror {} ::z::background
proc ::z::background {message options} {
    if {[dict get $options -code] == 1} {judge [dict get $options -errorcode] $message}
}
