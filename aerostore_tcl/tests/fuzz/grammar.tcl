# Random commands and scripts. A rule is a list of words; <x> is what the command x of this namespace makes up, <x>* none to three of
# it, <x>? none or one, and %x some of the options of the table x.

namespace eval fuzz {
    variable depth 0
    # Methods of a table, by their rules.
    variable methods {
        {array_get <key> <column>*}
        {array_get_with_nulls <key> <column>*}
        {batch <operations>}
        {count}
        {cursor %select}
        {delete <key>}
        {exists <key>}
        {explain %search %explain}
        {fields}
        {fieldtype <column>}
        {foreach <variable_name> <glob>? <braced>}
        {get <key> <column>*}
        {import <resultset> <integer>? %import}
        {incr <key> <column> <integer>?}
        {incr <key> <column> <integer> <column> <integer>}
        {index create <column> %index}
        {index drop <column>}
        {index list %index}
        {index count <column>}
        {index span <column>}
        {ingest_tsv <lines> <integer>? %ingest}
        {ingest_tsv -file <path> <integer>? %ingest}
        {ingest_tsv -channel <channel> <integer>? %ingest}
        {ingest_tsv -channel <reflected> %ingest}
        {isnull <key> <column>*}
        {key}
        {lock <key>}
        {names <glob>?}
        {null <key> <column>*}
        {read_tabsep <channel> %sheet}
        {reset}
        {schema}
        {search %search}
        {search %search -code <braced>}
        {search %search %change}
        {search %search %give -code <braced>}
        {search -compare <terms> -code <braced>}
        {search -write_tabsep <channel> %search %tabsep}
        {search -write_tabsep <reflected> %select %tabsep}
        {search -poll_interval <integer> -poll_code <braced> %give}
        {set <key> <pairs>}
        {set <key> <pair_list>}
        {statistics}
        {store <pairs>}
        {store <pair_list>}
        {unwatch <token>}
        {watch %watch <watcher>}
        {write_tabsep <channel> %sheet}
        {write_tabsep <reflected> %sheet}
    }
    # Those that scripts call most.
    variable frequent {
        {set <key> <pairs>} {set <key> <pairs>} {get <key> <column>*} {delete <key>} {search %search -code <braced>} {search %select %give}
        {store <pairs>} {batch <operations>} {search %search %change}
    }
    # Commands of the package, as rules.
    variable commands {
        {alter <table_name> add <added> <added>*}
        {begin %begin}
        {checkpoint_now}
        {close}
        {commit}
        {define <table_name> <definitions> %define}
        {define L0 <definitions> -ttl <ttl>}
        {drop <table_name>}
        {get_config <setting>?}
        {init <standard>}
        {init %init}
        {init <path> %init}
        {release <savepoint_name>}
        {rollback}
        {rollback_to <savepoint_name>}
        {savepoint <savepoint_name>}
        {set_config <assignment>}
        {status}
        {tables <glob>?}
        {transaction %begin -retries <few> <braced>}
        {transaction %begin <braced>}
        {transaction <braced>}
        {version}
    }
    variable options {
        select {-compare <terms> -any <terms> -glob <glob> -sort <sort_columns> -limit <integer> -offset <integer> -columns <columns> -fields <columns>
            -index <column>}
        give {-key <variable_name> -get <variable_name> -array <variable_name> -array_with_nulls <variable_name> -array_get <variable_name>
            -array_get_with_nulls <variable_name>}
        search {-compare <terms> -any <terms> -glob <glob> -sort <sort_columns> -limit <integer> -offset <integer> -columns <columns> -fields <columns>
            -index <column> -key <variable_name> -get <variable_name> -array <variable_name> -array_with_nulls <variable_name>
            -array_get <variable_name> -array_get_with_nulls <variable_name> -code <braced> -countOnly <flag> -lists <flag> -dicts <flag>
            -buffer <flag> -poll_code <braced> -poll_interval <integer> -delete <flag> -update <pair_list> -write_tabsep <channel>}
        explain {-dict <flag> -run <flag>}
        change {-delete 1 -update <pair_list> -lists 1 -dicts 1}
        tabsep {-header <flag> -nokeys <flag> -null <value> -quote <quoting> -tab <separator>}
        sheet {-columns <columns> -nokeys <flag> -glob <glob> -header <flag> -tab <separator> -null <value> -quote <quoting>}
        import {-columns <columns>}
        index {-unique <flag> -kind <index_kind>}
        ingest {-columns <columns> -header <flag> -null <value> -tab <separator> -quote <quoting> -delete <flag> -on_error <on_error> -progress <braced>}
        watch {-compare <terms> -columns <columns> -buffer <integer>}
        begin {-isolation <isolation> -readonly <flag> -sync <flag>}
        define {-ttl <value> -nulls <nulls>}
        init {-shm <path> -size <integer> -readonly <flag> -salvage <flag> -config <value>}
    }
    variable operations {
        {array_get <key> <column>*} {array_get_with_nulls <key> <column>*} {delete <key>} {exists <key>} {get <key> <column>*}
        {incr <key> <column> <integer>?} {isnull <key> <column>*} {lock <key>} {null <key> <column>*} {set <key> <pairs>} {set <key> <pair_list>}
        {store <pairs>}
    }
}

# What the package has and the rules do not: methods, commands and options, as the package itself lists them.
proc fuzz::unknown {} {
    variable methods
    variable commands
    variable options
    set listed [list {} FlightState [lmap rule $methods {lindex $rule 0}]]
    foreach {words table more} {
        {FlightState search} search {-dict -header -nokeys -null -quote -run -tab}
        {FlightState ingest_tsv x} ingest {}
        {FlightState write_tabsep stdout} sheet {}
        {FlightState watch} watch {}
        {FlightState index list} index {}
        {aerostore::transaction} begin -retries
        {aerostore::begin} begin -retries
        {aerostore::init} init {}
        {aerostore::define X {{int a}}} define {}
    } {
        lappend listed $table $words [concat [dict keys [dict get $options $table]] $more]
    }
    set unknown {}
    foreach {table words known} $listed {
        catch [concat $words [expr {$table eq {} ? "nosuch" : "-nosuch"}] [expr {$table eq "watch" ? "x x" : "x"}]] message
        if {![regexp {^bad [a-z]+ "-?nosuch": must be (.*)$} $message -> choices]} {
            lappend unknown "$words does not say what it takes: $message"
            continue
        }
        foreach choice [split [string map {{ or } { } , {}} " $choices"]] {
            if {$choice ne {} && $choice ni $known} {lappend unknown "$words $choice"}
        }
    }
    foreach command [info commands ::aerostore::\[a-z\]*] {
        if {[namespace tail $command] ni [lmap rule $commands {lindex $rule 0}]} {lappend unknown $command}
    }
    return $unknown
}

# The words that a rule stands for.
proc fuzz::expand {rule} {
    variable options
    set words {}
    foreach part $rule {
        if {[regexp {^<(.*)>([*?]?)$} $part -> name often]} {
            set times [switch -- $often {* {below 4} ? {below 2} default {expr 1}}]
            for {} {$times > 0} {incr times -1} {
                switch $name {
                    pairs {lappend words {*}[pair_words]}
                    standard {lappend words {*}[standard]}
                    assignment {lappend words {*}[assignment]}
                    default {lappend words [$name]}
                }
            }
        } elseif {[string match %* $part]} {
            set table [dict get $options [string range $part 1 end]]
            for {set n [below 4]} {$n > 0} {incr n -1} {
                set option [one_of [dict keys $table]]
                lappend words $option {*}[expand [list [dict get $table $option]]]
            }
        } else {
            lappend words $part
        }
    }
    return $words
}

# The words, with a mistake.
proc fuzz::spoil {words} {
    set place [below [llength $words]]
    switch [below 6] {
        0 {return [lreplace $words $place $place]}
        1 {return [linsert $words $place [value]]}
        2 {return [lreplace $words $place $place [value]]}
        3 {return [linsert $words end [value]]}
        4 {return [lrange $words 0 $place]}
        5 {
            # An abbreviation, or a word that is none.
            set word [lindex $words $place]
            if {![regexp {^[-A-Za-z_]+$} $word]} {return $words}
            return [lreplace $words $place $place [string range $word 0 [below [string length $word]]][one_of {{} {} x}]]
        }
    }
}

# One command, as source.
proc fuzz::command {} {
    variable methods
    variable frequent
    variable commands
    if {[once_in 5]} {
        set words [expand [one_of $commands]]
        set head [expr {[once_in 3] ? "aerostore [lindex $words 0]" : "aerostore::[lindex $words 0]"}]
        set words [list $head {*}[lrange $words 1 end]]
    } elseif {[once_in 25]} {
        set words [list "\[cursor\]" [one_of {next next next get row close nothing}] {*}[expand {<column>*}]]
    } else {
        set words [list [table] {*}[expand [one_of [expr {[once_in 2] ? $frequent : $methods}]]]]
    }
    if {[once_in 15]} {set words [spoil $words]}
    set command [join $words]
    # What later commands refer to.
    if {[lindex $words 1] eq "watch"} {set command "set ::z::token \[$command\]"}
    if {[lindex $words 1] eq "cursor"} {set command "set ::z::cursor \[$command\]"}
    return $command
}

# Something that a script may do besides: to itself, its interpreter, its tables.
proc fuzz::trouble {} {
    switch [below 38] {
        0 - 1 {return "error thrown {} {FUZZ THROWN}"}
        2 {return break}
        3 {return continue}
        4 {return "return [value]"}
        5 {return "return -code [one_of {error break continue return ok 7 -5}] -errorcode {FUZZ CODE} x"}
        6 {return "return -level [below 4] -code [one_of {error break continue ok}] -errorcode {FUZZ LEVEL} x"}
        7 {return "throw {AEROSTORE [one_of {SERIALIZATION REVOKED {BUSY LOCK}}]} conflict"}
        8 {return "aerostore::close"}
        9 {return "aerostore::drop [one_of {T0 T1 T2 T3 L0}]"}
        10 {return "rename [table] [one_of {{{}} T0 FlightState ::other}]"}
        11 {return "die [one_of {self self S1 S2 S3}]"}
        12 - 13 {return update}
        14 {return "after [one_of {0 0 idle}] [braced]"}
        15 {return "aerostore::[one_of {commit rollback begin {savepoint a} {rollback_to a} {release a}}]"}
        16 {return "coroutine ::z::c[below 3] apply {{} [braced]}"}
        17 {return [one_of {yield {yieldto set x} ::z::c0 ::z::c1}]}
        18 {return "tailcall [command]"}
        19 {return "uplevel [one_of {1 #0 0}] [braced]"}
        20 {return "unset -nocomplain x y arr"}
        21 {return "interp alias {} [one_of {T0 FlightState other}] {} [one_of {FlightState T0 T1 list}]"}
        22 {return "trace add execution [one_of {FlightState T0}] [one_of {enter leave enterstep}] {::z::traced [braced]}"}
        23 {return "limit [below 60]"}
        24 {return "catch {close \[channel last\]}"}
        25 {return "nest; interp eval inner [braced]"}
        26 {return "die inner"}
        27 {return "aerostore::init [join [standard]]"}
        28 {return "namespace eval [one_of {::a ::aerostore ::}] [braced]"}
        29 {return "mirror"}
        30 {return "apply {{} [braced]}"}
        31 {return "try [braced] on error {m o} [braced]"}
        32 {return "set ::z::again \[expr {\[incr ::z::count\] % 3}\]"}
        33 {return "other [one_of {S1 S2 S3}] [braced]"}
        34 {return "catch [braced]"}
        35 {return "set x [value]"}
        36 {return unpack}
        37 {return "catch {close \[lindex \$::z::reflections [one_of {end 0}]\]}"}
    }
}

# A script in braces: of a search, a transaction, a callback.
proc fuzz::braced {} {
    variable depth
    if {$depth >= 3} {return [one_of {{{}} {{incr ::z::count}} {break} {{error deep {} {FUZZ DEEP}}}}]}
    incr depth
    set lines {}
    for {set n [below 3]} {$n >= 0} {incr n -1} {
        lappend lines [if {[once_in 2]} {command} else {trouble}]
    }
    incr depth -1
    return "{[join $lines {; }]}"
}

proc fuzz::script {} {
    if {[once_in 12]} {return [trouble]}
    return [command]
}

proc fuzz::operations {} {
    variable operations
    if {[once_in 20]} {return [value]}
    set words {}
    for {set n [below 4]} {$n > 0} {incr n -1} {
        set operation [expand [one_of $operations]]
        if {[once_in 12]} {set operation [spoil $operation]}
        lappend words [list_of $operation]
    }
    list_of $words
}

proc fuzz::pair_list {} {
    if {[once_in 15]} {return [value]}
    list_of [pair_words]
}

proc fuzz::reflected {} {
    return "\[reflected [one_of {read write}] [braced]\]"
}

proc fuzz::watcher {} {
    if {[once_in 10]} {return [value]}
    return "{::z::watcher [braced]}"
}

proc fuzz::token {} {
    if {[once_in 4]} {return [value]}
    return {$::z::token}
}

proc fuzz::standard {} {
    return {$::z::dir -shm $::z::shm -size 134217728}
}

proc fuzz::setting {} {
    if {[once_in 5]} {return [value]}
    return aerostore.[one_of {synchronous_commit wal_writer_delay_ms wal_sync_every_commits retry_limit lock_timeout idle_in_transaction_timeout
        max_snapshot_age search_threads checkpoint_interval_secs checkpoint_log_mib checkpoint_compression ttl_sweep_interval_ms ttl_batch_rows}]
}

# A setting and a value, which is none that has a command wait for long.
proc fuzz::assignment {} {
    set setting [setting]
    if {[string match *lock_timeout $setting]} {return [list $setting [one_of {1 5 20 x -1 {}}]]}
    if {[string match *retry_limit $setting]} {return [list $setting [one_of {0 1 3 5 x -1}]]}
    if {[string match *delay* $setting]} {return [list $setting [one_of {0 1 10 x}]]}
    if {[string match *search_threads $setting]} {return [list $setting [one_of {0 1 2 4 x 99999999999}]]}
    list $setting [mostly {on off 0 1 10 100 1000}]
}

proc fuzz::table_name {} {
    if {[once_in 20]} {return [value]}
    one_of {T0 T0 T1 T2 T3 FlightState set list ::T1 a::b :c}
}

proc fuzz::few {} {one_of {0 1 3}}
proc fuzz::quoting {} {mostly {none escape uri}}
proc fuzz::separator {} {mostly {, | {[text 09]} {[text 3b]}}}
proc fuzz::index_kind {} {mostly {ordered hash}}
proc fuzz::on_error {} {mostly {skip stop}}
proc fuzz::isolation {} {mostly {serializable snapshot}}
proc fuzz::nulls {} {mostly {high unknown}}
proc fuzz::ttl {} {mostly {{[list ts 1000000]} {[list w 1000000]}}}
