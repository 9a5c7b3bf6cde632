# What do operations from Tcl cost, beside a C command that does nothing, beside sqlite3 and Redis, and beside loops of Tcl?
#
#   tclsh ops.tcl FOLDER PORT ROUNDS ?PART ...?
#
# Rows        100 000 of six columns (flight_id of six letters, lat, lon, altitude, gs, updated_at), and the same with dest and indexes
#             on flight_id, altitude, updated_at (ordered) and dest (a hash); a thousand besides in the part "empty", a million in the
#             part "million"; 10 000 in the part "rows"
# Keys        random ones
# Contenders  aerostore    commit mode off: the log is written behind
#             memory, wal  the sqlite3 package, statements prepared once and kept: a database in memory; a file with a log
#                          (WAL, synchronous NORMAL: synced behind). Indexes on the same columns, tables WITHOUT ROWID
#             redis        a server that saves nothing, one connection over the loopback, hashes and a sorted set
#             empty        a C command that returns at once, with the same words
#             tcl          a loop of Tcl that makes the same values
# Durability  as said; each operation is a transaction of its own
# Unit        microseconds an operation: median and 99th percentile of turns of 100 (of one, where one takes long)
#
# All are in this one process and take turns on the same keys, in loops that are the same; what they give is compared. FOLDER has the
# package and the C command, PORT is the server's, 0 for none.

source [file join [file dirname [info script]] turns.tcl]
source [file join [file dirname [info script]] redis.tcl]

set row_count 100000
set columns {flight_id lat lon altitude gs updated_at}
set definition {
    {key flight_id -length 24} {double lat} {double lon} {int altitude} {int gs} {wide updated_at}
}

# The key of a number: three letters and three digits. Numbers of one prefix lie side by side.
proc key {number} {
    set group [expr {$number / 1000}]
    format %c%c%c%03d [expr {65 + $group / 676}] [expr {65 + $group / 26 % 26}] [expr {65 + $group % 26}] [expr {$number % 1000}]
}

# A line of a file for each row, the fields of $columns and dest.
proc make_lines {count} {
    set lines {}
    for {set number 0} {$number < $count} {incr number} {
        # In no order, each once: the factors are primes.
        lappend lines [format "%s\t%.4f\t%.4f\t%d\t%d\t%d\tD%d" [key [expr {$number * 7368787 % $count}]] \
            [expr {rand() * 180 - 90}] [expr {rand() * 360 - 180}] [expr {$number * 104729 % $count}] \
            [expr {int(rand() * 600)}] [expr {1700000000 + $number}] [expr {$number % ($count / 10)}]]
    }
    return $lines
}

proc write_file {name lines last} {
    set channel [open [file join $::folder $name] w]
    foreach line $lines {puts $channel [join [lrange [split $line \t] 0 $last] \t]}
    close $channel
    file join $::folder $name
}

proc random_keys {count rows} {
    set keys {}
    while {[incr count -1] >= 0} {lappend keys [key [expr {int(rand() * $rows)}]]}
    return $keys
}

proc open_aerostore {} {
    lappend ::auto_path [file join $::folder packages]
    package require aerostore
    set shm [expr {[info exists ::env(AEROSTORE_BENCH_SHM)] ? $::env(AEROSTORE_BENCH_SHM) : "/dev/shm"}]
    set ::shm [file join $shm [file tail $::folder].mmap]
    # Checkpoints would come in the midst of somebody else's turn.
    aerostore::init [file join $::folder data] -shm $::shm -size [expr {4 << 30}] -config {
        aerostore.synchronous_commit off aerostore.checkpoint_interval_secs 0 aerostore.checkpoint_log_mib 0
    }
}

proc close_aerostore {} {
    aerostore::close
    file delete $::shm
}

proc open_sqlite {name path} {
    package require sqlite3
    sqlite3 $name $path
    $name cache size 100
    $name eval {PRAGMA cache_size = -500000}
    if {$path ne ":memory:"} {
        $name eval {PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL}
    }
}

proc sqlite_table {db table} {
    $db eval "CREATE TABLE $table (flight_id TEXT PRIMARY KEY, lat REAL, lon REAL, altitude INTEGER, gs INTEGER,
        updated_at INTEGER[expr {$table eq "indexed" ? ", dest TEXT" : ""}]) WITHOUT ROWID"
}

proc load_sqlite {db table lines} {
    sqlite_table $db $table
    $db eval BEGIN
    foreach line $lines {
        lassign [split $line \t] id lat lon altitude gs updated_at dest
        if {$table eq "indexed"} {
            $db eval {INSERT INTO indexed VALUES ($id, $lat, $lon, $altitude, $gs, $updated_at, $dest)}
        } else {
            $db eval {INSERT INTO plain VALUES ($id, $lat, $lon, $altitude, $gs, $updated_at)}
        }
    }
    $db eval COMMIT
    if {$table eq "indexed"} {
        foreach column {altitude updated_at dest} {$db eval "CREATE INDEX by_$column ON indexed ($column)"}
        $db eval ANALYZE
    }
}

proc load_redis {lines} {
    set channel $::redis
    set sent 0
    foreach line $lines {
        lassign [split $line \t] id lat lon altitude gs updated_at
        redis::send $channel HSET $id flight_id $id lat $lat lon $lon altitude $altitude gs $gs updated_at $updated_at
        redis::send $channel ZADD by:altitude $altitude $id
        if {[incr sent] % 1000 == 0} {
            flush $channel
            for {set left 2000} {$left > 0} {incr left -1} {redis::receive $channel}
        }
    }
}

# Everything the parts but "million" need.
proc load_all {} {
    set lines [make_lines $::row_count]
    set ::plain_file [write_file plain.tsv $lines 5]
    set ::small_file [write_file small.tsv [lrange $lines 0 999] 5]
    aerostore::define Plain $::definition
    Plain ingest_tsv -file $::plain_file
    aerostore::define Indexed {
        {key flight_id -length 24 -index ordered} {double lat} {double lon} {int altitude -index ordered} {int gs}
        {wide updated_at -index ordered} {string dest -length 8 -index hash}
    }
    Indexed ingest_tsv -file [write_file indexed.tsv $lines 6]
    if {![wants peers]} return
    open_sqlite memory :memory:
    open_sqlite wal [file join $::folder sqlite.db]
    foreach db {memory wal} {
        load_sqlite $db plain $lines
        load_sqlite $db indexed $lines
    }
    set ::redis [expr {$::port ? [redis::open $::port] : ""}]
    if {$::redis ne ""} {load_redis $lines}
}

# The values of a result as words in their order, doubles and integers written alike.
proc flat {rows} {
    lmap word [concat {*}$rows] {expr {[string is double -strict $word] ? double($word) : $word}}
}

# One question to all: what they give for some items is compared (`same` makes it comparable), then they take turns. Rows of the
# table: what, each contender's median and p99, each other's median to ours, and the goal.
proc ask {what goal items size contenders {same {}} {around {}}} {
    if {[dict exists $contenders redis] && $::redis eq ""} {dict unset contenders redis}
    if {$same ne {}} {
        foreach item [lrange $items 0 9] {
            set n 0
            dict for {name script} $contenders {set given($name) [eval $same [list [eval $script]]]}
            foreach name [array names given] {
                if {$given($name) ne $given(aerostore)} {error "$what $item: $name gives $given($name), not $given(aerostore)"}
            }
        }
    }
    set rounds [expr {$size == 1 ? max($::rounds / 10, 3) : $::rounds}]
    set times [turns::take $rounds $items $size $contenders $around]
    set row [list $what [turns::median_p99 $times aerostore]]
    foreach name {empty tcl memory wal redis} {
        if {$name ni $::others} continue
        if {[dict exists $contenders $name]} {
            lappend row [turns::median_p99 $times $name]
            set ratio [turns::ratio $times aerostore $name]
            # Beside a limit: how many times the limit we take; beside a peer: how many times our time it takes.
            lappend row [format %.2f [expr {$name in {empty tcl} ? 1 / $ratio : $ratio}]]
        } else {
            lappend row {} {}
        }
    }
    lappend row $goal
}

proc heading {others} {
    set ::others $others
    set row {{} {aerostore us}}
    foreach name $others {lappend row "$name us" [expr {$name in {empty tcl} ? "times" : "slower"}]}
    lappend row goal
}

proc part_empty {} {
    load [file join $::folder empty.so] Empty
    # A thousand rows stay in the processor's caches, as the little that the empty command needs does.
    foreach {count file} [list 1000 $::small_file $::row_count $::plain_file] {
        aerostore::define Rows $::definition
        Rows ingest_tsv -file $file
        # In no order, a good many times each.
        set keys [Rows names]
        while {[llength $keys] < 30000} {lappend keys {*}$keys}
        set keys [lmap key [lrange $keys 0 29999] {lindex $keys [expr {int(rand() * 30000)}]}]
        ask_empty $count $keys
        aerostore::drop Rows
    }
}

proc ask_empty {count keys} {
    set terms [lmap key $keys {list [list = flight_id $key]}]
    set rows [list [heading empty]]
    lappend rows [ask "get of one column" 4 $keys 100 {
        aerostore {Rows get $item altitude} empty {empty get $item altitude}
    }]
    lappend rows [ask "get of all six" 8 $keys 100 {
        aerostore {Rows get $item} empty {empty get $item}
    }]
    lappend rows [ask "set of three columns" 10 $keys 100 {
        aerostore {Rows set $item altitude [incr n] gs $n updated_at $n}
        empty {empty set $item altitude [incr n] gs $n updated_at $n}
    }]
    lappend rows [ask "search {= key}, counted" 8 $terms 100 {
        aerostore {Rows search -compare $item -countOnly 1} empty {empty search -compare $item -countOnly 1}
    }]
    lappend rows [ask "search {= key}, as a list" 8 $terms 100 {
        aerostore {Rows search -compare $item -lists 1} empty {empty search -compare $item -lists 1}
    }]
    lappend rows [ask "fields, which looks at no row" {} $keys 100 {
        aerostore {Rows fields} empty {empty fields}
    }]
    lappend rows [ask "the loop itself" {} $keys 100 {aerostore {} empty {}}]
    puts "\n$count rows, beside a C command that does nothing: how many times its time"
    turns::table $rows
}

proc part_peers {} {
    set keys [random_keys 30000 $::row_count]
    set places [lmap key [lrange $keys 0 9999] {expr {int(rand() * ($::row_count - 1000))}}]
    set dests [lmap key [lrange $keys 0 9999] {format D%d [expr {int(rand() * $::row_count / 10)}]}]
    set letters [lmap key [lrange $keys 0 9999] {string range $key 0 4}]
    set rows [list [heading {memory wal redis}]]
    lappend rows [ask "get of one column" "3; redis 20" $keys 100 {
        aerostore {Plain get $item altitude}
        memory {memory eval {SELECT altitude FROM plain WHERE flight_id = $item}}
        wal {wal eval {SELECT altitude FROM plain WHERE flight_id = $item}}
        redis {redis::call $::redis HMGET $item altitude}
    } flat]
    lappend rows [ask "get of all six" "3; redis 20" $keys 100 {
        aerostore {Plain get $item}
        memory {memory eval {SELECT * FROM plain WHERE flight_id = $item}}
        wal {wal eval {SELECT * FROM plain WHERE flight_id = $item}}
        redis {redis::call $::redis HMGET $item flight_id lat lon altitude gs updated_at}
    } flat]
    lappend rows [ask "set of three columns" "3; redis 20" $keys 100 {
        aerostore {Plain set $item lat [incr n].5 gs $n updated_at $n}
        memory {set lat [incr n].5; memory eval {UPDATE plain SET lat = $lat, gs = $n, updated_at = $n WHERE flight_id = $item}}
        wal {set lat [incr n].5; wal eval {UPDATE plain SET lat = $lat, gs = $n, updated_at = $n WHERE flight_id = $item}}
        redis {redis::call $::redis HSET $item lat [incr n].5 gs $n updated_at $n}
    }]
    lappend rows [ask "the same, one indexed" "3" $keys 100 {
        aerostore {Indexed set $item lat [incr n].5 gs $n updated_at $n}
        memory {set lat [incr n].5; memory eval {UPDATE indexed SET lat = $lat, gs = $n, updated_at = $n WHERE flight_id = $item}}
        wal {set lat [incr n].5; wal eval {UPDATE indexed SET lat = $lat, gs = $n, updated_at = $n WHERE flight_id = $item}}
    }]
    lappend rows [ask "indexed equality, 10 rows" "3" $dests 100 {
        aerostore {Indexed search -compare [list [list = dest $item]] -columns {flight_id altitude} -lists 1}
        memory {memory eval {SELECT flight_id, altitude FROM indexed WHERE dest = $item}}
        wal {wal eval {SELECT flight_id, altitude FROM indexed WHERE dest = $item}}
    } {apply {rows {lsort [flat $rows]}}}]
    lappend rows [ask "range of 100 rows" "3; redis 20" $places 100 {
        aerostore {Indexed search -compare [list [list range altitude $item [expr {$item + 100}]]] -columns {flight_id altitude} -lists 1}
        memory {set end [expr {$item + 100}]; memory eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item AND altitude < $end}}
        wal {set end [expr {$item + 100}]; wal eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item AND altitude < $end}}
        redis {range_redis $item [expr {$item + 99}]}
    } {apply {rows {lsort [flat $rows]}}}]
    lappend rows [ask "the same, as rows" "3" $places 100 {
        aerostore {Indexed search -compare [list [list range altitude $item [expr {$item + 100}]]] -columns {flight_id altitude} -lists 1}
        memory {rows_sqlite memory $item}
        wal {rows_sqlite wal $item}
    } lsort]
    lappend rows [ask "the same, in a loop" "3" $places 100 {
        aerostore {Indexed search -compare [list [list range altitude $item [expr {$item + 100}]]] -columns {flight_id altitude} -array row -code {set id $row(flight_id)}}
        memory {set end [expr {$item + 100}]; memory eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item AND altitude < $end} row {set id $row(flight_id)}}
        wal {set end [expr {$item + 100}]; wal eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item AND altitude < $end} row {set id $row(flight_id)}}
    }]
    lappend rows [ask "10 of the rows above, in order" "3" $places 100 {
        aerostore {Indexed search -compare [list [list >= altitude $item]] -sort altitude -limit 10 -columns {flight_id altitude} -lists 1}
        memory {memory eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item ORDER BY altitude LIMIT 10}}
        wal {wal eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $item ORDER BY altitude LIMIT 10}}
    } flat]
    lappend rows [ask "1000 rows sorted, 10 of them" "3" [lrange $places 0 999] 10 {
        aerostore {Indexed search -compare [list [list range altitude $item [expr {$item + 1000}]]] -sort {-lon flight_id} -limit 10 -columns {flight_id lon} -lists 1}
        memory {set end [expr {$item + 1000}]; memory eval {SELECT flight_id, lon FROM indexed WHERE altitude >= $item AND altitude < $end ORDER BY lon DESC, flight_id LIMIT 10}}
        wal {set end [expr {$item + 1000}]; wal eval {SELECT flight_id, lon FROM indexed WHERE altitude >= $item AND altitude < $end ORDER BY lon DESC, flight_id LIMIT 10}}
    } flat]
    lappend rows [ask "prefix of the key" "3" $letters 100 {
        aerostore {Indexed search -compare [list [list prefix flight_id $item]] -columns {flight_id altitude} -lists 1}
        memory {set end $item\xff; memory eval {SELECT flight_id, altitude FROM indexed WHERE flight_id >= $item AND flight_id < $end}}
        wal {set end $item\xff; wal eval {SELECT flight_id, altitude FROM indexed WHERE flight_id >= $item AND flight_id < $end}}
    } {apply {rows {lsort [flat $rows]}}}]
    lappend rows [ask "full scan, counted" "3" {100 200 300 400} 1 {
        aerostore {Plain search -compare [list [list > altitude $item]] -countOnly 1}
        memory {memory onecolumn {SELECT count(*) FROM plain WHERE altitude > $item}}
        wal {wal onecolumn {SELECT count(*) FROM plain WHERE altitude > $item}}
    } string\ cat]
    lappend rows [ask "full scan, all rows in a loop" "3" {100 200 300 400} 1 {
        aerostore {Plain search -compare [list [list > altitude $item]] -array row -code {set id $row(flight_id)}}
        memory {memory eval {SELECT * FROM plain WHERE altitude > $item} row {set id $row(flight_id)}}
        wal {wal eval {SELECT * FROM plain WHERE altitude > $item} row {set id $row(flight_id)}}
    }]
    lappend rows [ask "full scan, all rows in a list" "3" {100 200 300 400} 1 {
        aerostore {Plain search -compare [list [list > altitude $item]] -lists 1}
        memory {memory eval {SELECT * FROM plain WHERE altitude > $item}}
        wal {wal eval {SELECT * FROM plain WHERE altitude > $item}}
    }]
    set fresh {{aerostore::define Fresh $definition} {aerostore::drop Fresh}}
    lappend rows [ask "ingest of 100 000 rows" "3" [list $::plain_file] 1 {
        aerostore {Fresh ingest_tsv -file $item}
        memory {ingest_sqlite memory $item}
        wal {ingest_sqlite wal $item}
    } {} [dict create aerostore $fresh memory {{sqlite_table memory fresh} {memory eval {DROP TABLE fresh}}} \
        wal {{sqlite_table wal fresh} {wal eval {DROP TABLE fresh}}}]]
    lappend rows [ask "export of 100 000 rows" "3" [list [file join $::folder out.tsv]] 1 {
        aerostore {set channel [open $item w]; Plain write_tabsep $channel; close $channel}
        memory {export_sqlite memory $item}
        wal {export_sqlite wal $item}
    }]
    puts "\nBeside peers: how many times as slow as we are"
    turns::table $rows
}

proc range_redis {low high} {
    set ids [redis::call $::redis ZRANGEBYSCORE by:altitude $low $high]
    foreach id $ids {redis::send $::redis HMGET $id flight_id altitude}
    flush $::redis
    lmap id $ids {redis::receive $::redis}
}

# Rows as lists, which is what ours are; the package's own list has all values of all rows one behind the other.
proc rows_sqlite {db low} {
    set end [expr {$low + 100}]
    set rows {}
    $db eval {SELECT flight_id, altitude FROM indexed WHERE altitude >= $low AND altitude < $end} {lappend rows [list $flight_id $altitude]}
    return $rows
}

proc ingest_sqlite {db file} {
    set channel [open $file]
    fconfigure $channel -encoding utf-8 -buffersize 262144
    set left 1000
    $db eval BEGIN
    while {[gets $channel line] >= 0} {
        lassign [split $line \t] id lat lon altitude gs updated_at
        $db eval {INSERT OR REPLACE INTO fresh VALUES ($id, $lat, $lon, $altitude, $gs, $updated_at)}
        if {[incr left -1] == 0} {
            $db eval {COMMIT; BEGIN}
            set left 1000
        }
    }
    $db eval COMMIT
    close $channel
}

proc export_sqlite {db file} {
    set channel [open $file w]
    $db eval {SELECT * FROM plain} {puts $channel "$flight_id\t$lat\t$lon\t$altitude\t$gs\t$updated_at"}
    close $channel
}

proc part_rows {} {
    set listed [Plain search -sort flight_id -limit 10000 -lists 1]
    foreach column $::columns {set ::values_$column {}}
    foreach row $listed {
        foreach value $row column $::columns {lappend ::values_$column $value}
    }
    aerostore::define Some $::definition
    foreach row $listed {Some set [lindex $row 0] [concat {*}[lmap column $::columns value $row {list $column $value}]]}
    set rows [list [heading tcl]]
    set loop [join [lmap column $::columns {set _ "v_$column \$::values_$column"}] " "]
    set sets [join [lmap column $::columns {set _ "set row($column) \$v_$column"}] "; "]
    set words [join [lmap column $::columns {set _ "\$v_$column"}] " "]
    set fill "foreach $loop {$sets}"
    lappend rows [ask "-array_get and -code, 10 000 rows" 3 x 1 \
        [list aerostore {Some search -array_get row -code {}} tcl $fill]]
    lappend rows [ask "-array and -code" 3 x 1 \
        [list aerostore {Some search -array row -code {}} tcl $fill]]
    lappend rows [ask "-lists 1, of values at hand" 1.5 x 1 \
        [list aerostore {Some search -lists 1} tcl "set rows {}; foreach $loop {lappend rows \[list $words\]}; set rows"]]
    set make "\[string range \$v_flight_id 0 end-1\]x \[expr {\$v_lat + 1}\] \[expr {\$v_lon + 1}\] \[expr {\$v_altitude + 1}\]\
        \[expr {\$v_gs + 1}\] \[expr {\$v_updated_at + 1}\]"
    lappend rows [ask "-lists 1, of values that are made" 1.5 x 1 \
        [list aerostore {Some search -lists 1} tcl "set rows {}; foreach $loop {lappend rows \[list $make\]}; set rows"]]
    puts "\nBeside loops of Tcl: how many times their time"
    turns::table $rows
}

proc rate {count script} {
    set begin [clock microseconds]
    uplevel #0 $script
    format "%.2f M rows/s" [expr {double($count) / ([clock microseconds] - $begin)}]
}

proc part_million {} {
    set count 1000000
    set file [write_file million.tsv [make_lines $count] 5]
    set rows {{{} measured {a C extension without log or transactions}}}
    aerostore::define Million $::definition
    lappend rows [list "ingest, no index" [rate $count [list Million ingest_tsv -file $file]] "0.5 M rows/s"]
    aerostore::define Two {
        {key flight_id -length 24} {double lat} {double lon} {int altitude -index ordered} {int gs} {wide updated_at -index ordered}
    }
    lappend rows [list "ingest, two indexes" [rate $count [list Two ingest_tsv -file $file]] "0.2 to 0.33 M rows/s"]
    aerostore::drop Two
    set keys [random_keys 30000 $count]
    set times [turns::take $::rounds $keys 100 {
        get {Million get $item altitude}
        all {Million get $item}
        set {Million set $item altitude [incr n] gs $n updated_at $n}
    }]
    lappend rows [list "get of one column, us" [turns::median_p99 $times get] "2.4 to 4.9"]
    lappend rows [list "get of all six, us" [turns::median_p99 $times all] "2.4 to 4.9"]
    lappend rows [list "set of three columns, us" [turns::median_p99 $times set] "1.8 to 7.3"]
    set out [file join $::folder out.tsv]
    set export {set channel [open %s w]; Million write_tabsep $channel; close $channel}
    lappend rows [list "export" [rate $count [format $export $out]] "1.2 M rows/s"]
    puts "\nA million rows"
    turns::table $rows
}

proc wants {part} {
    expr {![llength $::parts] || $part in $::parts}
}

proc main {arguments} {
    if {[llength $arguments] < 3} {
        puts stderr "usage: tclsh ops.tcl FOLDER PORT ROUNDS ?PART ...?"
        exit 2
    }
    set ::parts [lassign $arguments ::folder ::port ::rounds]
    foreach part $::parts {
        if {$part ni {empty peers rows million}} {
            puts stderr "no part \"$part\": must be empty, peers, rows or million"
            exit 2
        }
    }
    set channel [open /proc/loadavg]
    puts "load [string trim [read $channel]], Tcl [info patchlevel], $::rounds turns"
    close $channel
    expr {srand(1)}
    open_aerostore
    load_all
    foreach part {empty peers rows million} {
        if {[wants $part]} {part_$part}
    }
    close_aerostore
}

main $argv
