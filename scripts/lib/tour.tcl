# Turns the tour in README.md into a bash script, runs it, and compares the output with what the README says.
#
#   tclsh tour.tcl README SCRATCH_FOLDER
#
# A block marked "sh" is run; one marked with a language and a file name becomes that file; one marked "text" is the expected
# output of the "sh" block before it, where * stands for anything.

lassign $argv readme scratch

# The blocks of the tour: mark, contents, line.
proc blocks {readme} {
    set channel [open $readme]
    set lines [split [read $channel] \n]
    close $channel
    set blocks {}
    set in_tour 0
    set mark ""
    set number 0
    foreach line $lines {
        incr number
        if {$mark ne ""} {
            if {$line eq "```"} {
                lappend blocks $mark [join $body \n] $start
                set mark ""
            } else {
                lappend body $line
            }
        } elseif {[string match "## *" $line]} {
            set in_tour [string match "## Five-minute tour*" $line]
        } elseif {$in_tour && [regexp {^```(.+)$} $line -> mark]} {
            set body {}
            set start $number
        }
    }
    return $blocks
}

set script "set -euo pipefail\n"
set expected {}
set count 0
foreach {mark body line} [blocks $readme] {
    lassign $mark language file
    switch $language {
        sh {
            incr count
            set at($count) $line
            append script "{\n$body\n} > [list [file join $scratch $count.out]] 2>&1\n"
        }
        text {dict set expected $count $body}
        default {append script "cat > $file <<'END OF BLOCK'\n$body\nEND OF BLOCK\n"}
    }
}
if {$count < 5} {
    puts "the tour in $readme has only $count blocks to run: has its heading changed?"
    exit 1
}

set stopped [catch {exec bash << $script 2>@1} message]
set wrong 0
set last 0
for {set number 1} {$number <= $count} {incr number} {
    if {![file exists [file join $scratch $number.out]]} break
    set last $number
    set channel [open [file join $scratch $number.out]]
    set output [string trimright [read $channel]]
    close $channel
    set good 1
    if {[dict exists $expected $number]} {
        set pattern [string map {[ \\[ ] \\] ? \\? \\ \\\\} [dict get $expected $number]]
        set good [string match $pattern $output]
    }
    puts "README.md:$at($number): [expr {$good ? {ok} : {the output is not as it says}}]"
    if {!$good} {
        puts "expected:\n[dict get $expected $number]\nbut got:\n$output"
        incr wrong
    }
}
if {$stopped} {
    puts "the block at line $at($last) failed: $message\n$output"
}
if {$stopped || $wrong} {exit 1}
puts "tour: $count blocks run, [dict size $expected] outputs compared"
