# The demo itself: starts the processes, kills them, compares, reports. It has no database open and loads no package of ours.
#
#   tclsh demo.tcl FILE NAME_TO_SHOW DATA_DIRECTORY MAPPING

set here [file dirname [file normalize [info script]]]
source [file join $here positions.tcl]
lassign $argv path shown directory mapping
fconfigure stdout -buffering line

set checks_failed 0
set searches 0
set slowest_us 0

# A figure, its unit and what it is, aligned.
proc line {name value {note ""}} {
    puts [string trimright [format "%-22s %-20s%s" $name $value [expr {$note eq "" ? "" : "  ($note)"}]]]
}

proc heading {text} {
    puts "\n$text"
}

proc check {name good note} {
    incr ::checks_failed [expr {!$good}]
    line $name [expr {$good ? "ok" : "WRONG"}] $note
}

proc grouped {number} {
    while {[regsub {^(-?\d+)(\d{3})} $number {\1 \2} number]} {}
    return $number
}

proc milliseconds {us} {
    format "%.2f ms" [expr {$us / 1000.0}]
}

# Starts a process of the demo; its answers come from the channel returned.
proc start {script args} {
    set command [list [info nameofexecutable] [file join $::here $script] $::directory $::mapping {*}$args]
    set channel [open |[list {*}$command 2>@stderr] r+]
    fconfigure $channel -buffering line
    return $channel
}

proc kill9 {channels} {
    foreach channel $channels {exec kill -9 {*}[pid $channel]}
}

# The next answer that starts with the word.
proc answer {channel word} {
    while {[gets $channel line] >= 0} {
        if {[lindex $line 0] eq $word} {return [lrange $line 1 end]}
    }
    return -code error "a process of the demo ended without saying '$word'"
}

proc ask {channel args} {
    puts $channel $args
    answer $channel [lindex $args 0]
}

# Asks the reader for its figures when it has done $count more searches.
proc watch_searches {reader count} {
    lassign [ask $reader figures] ::searches
    set goal [expr {$::searches + $count}]
    while {$::searches < $goal} {
        after 10
        lassign [ask $reader figures] ::searches ::rows_seen ::mean_us slowest
        set ::slowest_us [expr {max($::slowest_us, $slowest)}]
    }
}

# Bytes in the files of the data directory.
proc log_bytes {} {
    lindex [exec du -sb $::directory] 0
}

if {[catch {positions::describe $path} input]} {
    puts stderr "demo: $input"
    exit 1
}
dict with input {}
set batch 1000
line "input" $shown "[grouped $reports] reports"

# --- one process writes, another searches, the writer is killed ---

heading "Writer and reader, and the writer killed in mid-ingest"
set reader [start reader.tcl]
answer $reader attached
set writer [start writer.tcl $path $header $columns $batch 2]
set goal [expr {$reports * 2 / 5}]
set acknowledged 0
while {$acknowledged < $goal} {set acknowledged [answer $writer committed]}
watch_searches $reader 3
line "before the kill" "[grouped $rows_seen] rows" "$searches searches so far, mean [milliseconds $mean_us]"
after [expr {int(rand() * 3)}]
kill9 $writer
# What it managed to say before its death is still in the pipe.
while {[gets $writer said] >= 0} {
    if {[lindex $said 0] eq "committed"} {set acknowledged [lindex $said 1]}
}
catch {close $writer}
line "writer killed" "SIGKILL" "after it had committed [grouped $acknowledged] of [grouped $reports] reports"
set before $searches
watch_searches $reader 30
line "reader goes on" "[expr {$searches - $before}] searches" "mean [milliseconds $mean_us], slowest so far [milliseconds $slowest_us]"
set found [ask $reader digest]
# A batch may be committed and its writer killed before it can say so.
set candidates {}
foreach lines [list $acknowledged [expr {min($acknowledged + $batch, $reports)}]] {
    set text [positions::expected $path $header $lines]
    lappend candidates [list [llength [split $text \n]] [checksum $text]]
}
check "contents" [expr {$found in $candidates}]\
    "[grouped [lindex $found 0]] rows, checksum [lindex $found 1]: whole batches, none lost, none torn"

# --- the rest ---

heading "A second writer ingests everything while the reader searches"
set writer [start writer.tcl $path $header $columns $batch 0]
lassign [answer $writer done] lines inserted updated unchanged elapsed_us synchronous
catch {close $writer}
line "ingested" "[grouped $lines] reports" "$inserted rows inserted, [grouped $updated] updated, [grouped $unchanged] unchanged"
line "rate" "[grouped [expr {round($lines * 1e6 / $elapsed_us)}]] reports/s"\
    "[milliseconds $elapsed_us] in batches of $batch, synchronous commit $synchronous"
watch_searches $reader 6
line "table" "[grouped $rows_seen] flights" "a search takes [milliseconds $mean_us] on average"
set text [positions::expected $path $header $reports]
set expected [list [llength [split $text \n]] [checksum $text]]
set found [ask $reader digest]
check "contents" [expr {$found eq $expected}] "[grouped [lindex $found 0]] rows, checksum [lindex $found 1]"

heading "Searches from the other process"
set box {46 47 7 9}
set must [positions::searches $path $header $box]
# The three rows with the highest values. Which flight comes first among equals is open; the values are not.
proc show_top {reader title column unit index} {
    set rank 0
    set found {}
    set good 1
    set must [dict get $::must $column]
    foreach row [ask $reader top $column 3] {
        incr rank
        set flight [lindex $row 0]
        set value [lindex $row $index]
        lappend found $value
        set good [expr {$good && [dict exists $must $flight] && [dict get $must $flight] == $value}]
        line "$title $rank" [format "%-8s %7s %s" $flight [grouped $value] $unit]
    }
    set wanted [lrange [lsort -integer -decreasing [dict values $must]] 0 2]
    check "$title three" [expr {$good && $found eq $wanted}] "the input says $wanted"
}
show_top $reader highest altitude ft 3
show_top $reader fastest gs kt 4
set inside [lmap row [ask $reader box {*}$box] {lindex $row 0}]
line "lat 46..47, lon 7..9" "[llength $inside] flights" [join [lrange $inside 0 2] ", "]
set wanted [dict get $must box]
check "the box" [expr {[lsort $inside] eq [lsort $wanted]}]\
    "the input says the same [llength $wanted] of [lindex $expected 0] flights"
set key [ask $reader any]
line "one row" [ask $reader row $key]

# --- all killed, then warm, then cold ---

heading "Everything killed, then attached again"
kill9 [list $reader]
catch {close $reader}
line "all processes killed" "SIGKILL" "$searches searches were served; slowest [milliseconds $slowest_us]"
foreach {title wanted source} {
    "warm attach" warm "" "cold recovery" cold "the log" "cold recovery" cold "a checkpoint"
} {
    if {$source eq "a checkpoint"} {
        set process [start checkpoint.tcl]
        lassign [answer $process checkpoint] rows bytes elapsed_us
        check "checkpoint" [expr {$rows == [lindex $expected 0]}]\
            "[milliseconds $elapsed_us], [grouped $rows] rows, [grouped $bytes] bytes"
        kill9 [list $process]
        catch {close $process}
    }
    if {$wanted eq "cold"} {
        file delete $mapping
        line "mapping deleted" $mapping "what is left is the log, [grouped [log_bytes]] bytes[expr {
            $source eq "a checkpoint" ? ", and the checkpoint" : ""}]"
    }
    set process [start attach.tcl]
    lassign [answer $process boot] boot rows reaped elapsed_us loaded replayed
    set first_us [answer $process first_search]
    set found [answer $process digest]
    close $process
    check $title [expr {$boot eq $wanted && $rows == [lindex $expected 0]}]\
        "[milliseconds $elapsed_us], boot $boot, [grouped $rows] rows, dead sessions reaped $reaped, first search [milliseconds $first_us]"
    if {$wanted eq "cold"} {
        line "recovered from" $source "[grouped $loaded] rows loaded, [grouped $replayed] transactions replayed"
    }
    check "contents" [expr {$found eq $expected}] "[grouped [lindex $found 0]] rows, checksum [lindex $found 1]"
}

puts ""
if {$checks_failed} {
    puts "demo: $checks_failed checks FAILED"
    exit 1
}
puts "demo: all counts and checksums agree"
