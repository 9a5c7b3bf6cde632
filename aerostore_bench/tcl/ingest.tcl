# How fast do flight positions get from a file of tab-separated values into a table, from Tcl?
#
#   tclsh ingest.tcl PACKAGES PARSE ROUNDS FILE ...
#
# Rows        those of the files, six columns: flight_id lat lon altitude gs updated_at; no header
# Keys        as in the files
# Contenders  aerostore    FlightState ingest_tsv -file, transactions of 1000 rows
#             sqlite       the sqlite3 package, in memory: gets, split, prepared upsert, transactions of 1000 rows
#             sqlite_copy  its "copy" command: one statement and one transaction for the whole file
#             parse        the program PARSE: the ingest's own parser, and nothing behind it
# Durability  aerostore: commit mode off, the log is written behind; sqlite: none
# Unit        rows per second; microseconds of processor time per row, of the thread that loads and of the whole process
#
# Indexes     none but that of the key; then one on each of the five other columns, on both sides
#
# They take turns, each turn in a fresh process with an empty database, whose making is not counted. PACKAGES is the folder
# into which the package was installed. Turns that leave other rows behind than the others fail.

set columns {flight_id lat lon altitude gs updated_at}
set batch_rows 1000

# Nanoseconds of processor time of the thread that runs this script, and of the whole process.
proc cpu_nanos {} {
    set total 0
    foreach path [glob /proc/self/task/*/schedstat] {
        set channel [open $path]
        incr total [lindex [read $channel] 0]
        close $channel
    }
    set channel [open /proc/self/task/[pid]/schedstat]
    set own [lindex [read $channel] 0]
    close $channel
    list $own $total
}

proc open_aerostore {packages} {
    lappend ::auto_path $packages
    package require aerostore
    close [file tempfile ::place aerostore_bench]
    file delete $::place
    set shm [expr {[info exists ::env(AEROSTORE_BENCH_SHM)] ? $::env(AEROSTORE_BENCH_SHM) : "/dev/shm"}]
    set ::shm [file join $shm [file tail $::place].mmap]
    aerostore::init $::place -shm $::shm -size [expr {4 << 30}] -config {aerostore.synchronous_commit off}
    if {!$::indexed} {
        foreach column [FlightState index list] {FlightState index drop $column}
    }
    set ::bytes_before [dict get [aerostore::status] used_bytes]
}

proc load_aerostore {file} {
    FlightState ingest_tsv -file $file $::batch_rows
}

# Rows and a sum to compare with, bytes in use before and after.
proc result_aerostore {} {
    set sum 0
    FlightState search -compare {{notnull altitude}} -columns altitude -get row -code {incr sum [lindex $row 0]}
    set bytes [dict get [aerostore::status] used_bytes]
    set result [list [FlightState count] $sum [expr {$bytes - $::bytes_before}]]
    aerostore::close
    file delete -force $::place
    file delete $::shm
    return $result
}

proc open_sqlite {} {
    package require sqlite3
    sqlite3 db :memory:
    db eval {
        CREATE TABLE flight_state (
            flight_id TEXT PRIMARY KEY, lat REAL, lon REAL, altitude INTEGER, gs INTEGER, updated_at INTEGER
        ) WITHOUT ROWID
    }
    if {$::indexed} {
        foreach column [lrange $::columns 1 end] {db eval "CREATE INDEX by_$column ON flight_state ($column)"}
    }
    set ::bytes_before [bytes_sqlite]
}

proc bytes_sqlite {} {
    expr {[db onecolumn {PRAGMA page_count}] * [db onecolumn {PRAGMA page_size}]}
}

proc load_sqlite {file} {
    set channel [open $file]
    fconfigure $channel -encoding utf-8 -buffersize 262144
    set left $::batch_rows
    db eval BEGIN
    while {[gets $channel line] >= 0} {
        lassign [split $line \t] flight_id lat lon altitude gs updated_at
        # The package keeps the statement prepared.
        db eval {
            INSERT INTO flight_state
            VALUES ($flight_id, nullif($lat, ''), nullif($lon, ''), nullif($altitude, ''), nullif($gs, ''),
                nullif($updated_at, ''))
            ON CONFLICT (flight_id) DO UPDATE SET lat = excluded.lat, lon = excluded.lon, altitude = excluded.altitude,
                gs = excluded.gs, updated_at = excluded.updated_at
        }
        if {[incr left -1] == 0} {
            db eval COMMIT
            db eval BEGIN
            set left $::batch_rows
        }
    }
    db eval COMMIT
    close $channel
}

proc load_sqlite_copy {file} {
    db copy replace flight_state $file \t {}
}

proc result_sqlite {} {
    set bytes [expr {[bytes_sqlite] - $::bytes_before}]
    db eval {SELECT count(*) AS count, coalesce(sum(altitude), 0) AS sum FROM flight_state} {}
    list $count $sum $bytes
}

# One turn, in a process of its own.
proc turn {contender packages file indexed} {
    set ::indexed $indexed
    switch $contender {
        aerostore {open_aerostore $packages}
        default {open_sqlite}
    }
    lassign [cpu_nanos] own total
    set begin [clock microseconds]
    load_$contender $file
    set elapsed [expr {[clock microseconds] - $begin}]
    lassign [cpu_nanos] own_end total_end
    set result [expr {$contender eq "aerostore" ? [result_aerostore] : [result_sqlite]}]
    list $elapsed [expr {($own_end - $own) / 1000}] [expr {($total_end - $total) / 1000}] {*}$result
}

proc quantile {values share} {
    lindex [lsort -real $values] [expr {round(([llength $values] - 1) * $share)}]
}

proc median {values} {
    quantile $values 0.5
}

proc ratios {a b} {
    lmap x $a y $b {expr {double($x) / $y}}
}

proc compare {packages parse rounds file indexed} {
    set channel [open $file]
    fconfigure $channel -translation binary
    for {set rows 0} {[gets $channel line] >= 0} {incr rows} {}
    close $channel
    puts "\n[file tail $file]: $rows rows, [file size $file] bytes, [expr {$indexed ? "five indexes" : "no index"}], $rounds rounds"
    set contenders {aerostore sqlite sqlite_copy parse}
    for {set round 0} {$round < $rounds} {incr round} {
        foreach contender $contenders {
            if {$contender eq "parse"} {
                lassign [exec $parse $file] found elapsed own
                if {$found != $rows} {error "parse found $found rows"}
                set total $own
            } else {
                set command [list [info nameofexecutable] [info script] --turn $contender $packages $file $indexed]
                lassign [exec {*}$command] elapsed own total count sum bytes
                if {![info exists expected]} {set expected [list $count $sum]}
                if {$expected ne [list $count $sum]} {error "$contender: $count rows, sum $sum; not $expected"}
                set held($contender) [expr {double($bytes) / $count}]
            }
            lappend rates($contender) [expr {$rows * 1e6 / $elapsed}]
            lappend owns($contender) [expr {double($own) / $rows}]
            lappend totals($contender) [expr {double($total) / $rows}]
        }
    }
    puts "  [lindex $expected 0] rows in the end, sum of altitudes [lindex $expected 1]: the same for all"
    foreach contender $contenders {
        set memory [expr {[info exists held($contender)] ? [format "%6.1f bytes a row" $held($contender)] : ""}]
        puts [format "  %-12s %9.0f rows/s (%.0f to %.0f)   cpu %.3f us a row, process %.3f us   %s" $contender \
            [median $rates($contender)] [quantile $rates($contender) 0] [quantile $rates($contender) 1] \
            [median $owns($contender)] [median $totals($contender)] $memory]
    }
    foreach peer {sqlite sqlite_copy parse} {
        puts [format "  aerostore / %s: rate %.2f, 1 / cpu %.2f, 1 / cpu of the process %.2f" $peer \
            [median [ratios $rates(aerostore) $rates($peer)]] [median [ratios $owns($peer) $owns(aerostore)]] \
            [median [ratios $totals($peer) $totals(aerostore)]]]
    }
}

proc main {arguments} {
    if {[lindex $arguments 0] eq "--turn"} {
        puts [turn {*}[lrange $arguments 1 end]]
        return
    }
    if {[llength $arguments] < 4} {
        puts stderr "usage: tclsh ingest.tcl PACKAGES PARSE ROUNDS FILE ..."
        exit 2
    }
    set files [lassign $arguments packages parse rounds]
    set channel [open /proc/loadavg]
    puts "load $::tcl_platform(machine) [string trim [read $channel]]"
    close $channel
    foreach indexed {0 1} {
        foreach file $files {compare $packages $parse $rounds $file $indexed}
    }
}

main $argv
