# A file of positions: what is in it, and what a table must hold after its first so many lines.

namespace eval positions {
    variable columns {flight_id lat lon altitude gs updated_at}
    variable here [file dirname [file normalize [info script]]]
}

# A dict: header (0 or 1), fields (of the first line), reports (lines without the header), batch columns for ingest_tsv.
proc positions::describe {path} {
    variable columns
    set channel [open_text $path]
    set fields [split [gets $channel] \t]
    set header [expr {![string is double [lindex $fields 1]]}]
    set reports [expr {!$header}]
    while {[gets $channel] >= 0} {incr reports}
    close $channel
    if {[llength $fields] < 6} {
        return -code error "$path has [llength $fields] columns, not six or more"
    }
    set names [concat $columns [lrepeat [expr {[llength $fields] - 6}] -]]
    dict create header $header reports $reports columns $names
}

# The rows a table must hold after the first $limit reports, as the text of [contents].
proc positions::expected {path header limit} {
    set channel [open_text $path]
    if {$header} {gets $channel}
    set rows {}
    while {$limit > 0 && [gets $channel line] >= 0} {
        incr limit -1
        lassign [split $line \t] ident lat lon altitude gs updated_at
        dict set rows $ident [list $ident [real $lat] [real $lon] $altitude $gs $updated_at]
    }
    close $channel
    contents_of [dict values $rows]
}

# What the searches must find when all of the file is in the table. A dict: altitude and gs, each a dict from flight to value;
# box, the flights in it. By awk, so that no line of Tcl is shared with the contents above.
proc positions::searches {path header box} {
    variable here
    lassign $box south north west east
    set found [dict create altitude {} gs {} box {}]
    set channel [open |[list env LC_ALL=C awk -F \t -v header=$header -v south=$south -v north=$north -v west=$west\
        -v east=$east -f [file join $here searches.awk] $path]]
    fconfigure $channel -encoding utf-8
    while {[gets $channel line] >= 0} {
        lassign [split $line \t] what flight value
        if {$what eq "box"} {
            dict lappend found box $flight
        } else {
            dict set found $what $flight $value
        }
    }
    close $channel
    return $found
}

# The number as Tcl prints it: 8.144920 is 8.14492.
proc positions::real {text} {
    expr {$text eq "" ? "" : double($text)}
}

proc positions::open_text {path} {
    set channel [open $path]
    fconfigure $channel -encoding utf-8
    return $channel
}

# Rows as text that is the same for the same rows: sorted by key, one a line.
proc contents_of {rows} {
    join [lsort $rows] \n
}

# A short name for a text.
proc checksum {text} {
    string range [exec sha256sum << [encoding convertto utf-8 $text]] 0 15
}
