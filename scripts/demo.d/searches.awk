# What the demo's searches must find, computed from the input alone: of each flight the last report counts.
#
#   awk -F '\t' -v header=0|1 -v south=S -v north=N -v west=W -v east=E -f searches.awk FILE
#
# Prints a line `altitude FLIGHT FEET` and one `gs FLIGHT KNOTS` for each flight that has one, and `box FLIGHT` for each in
# the box, borders included; fields are divided by tabs, lines are in no order.

BEGIN { OFS = "\t" }

FNR > header {
    lat[$1] = $2
    lon[$1] = $3
    altitude[$1] = $4
    gs[$1] = $5
}

END {
    for (flight in lat) {
        if (altitude[flight] != "") print "altitude", flight, altitude[flight]
        if (gs[flight] != "") print "gs", flight, gs[flight]
        if (lat[flight] != "" && lon[flight] != "" && between(lat[flight] + 0, south + 0, north + 0) &&
            between(lon[flight] + 0, west + 0, east + 0)) print "box", flight
    }
}

function between(value, low, high) {
    return low <= value && value <= high
}
