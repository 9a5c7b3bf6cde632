# A client of Redis: its protocol over a socket of the loopback, commands as arrays of byte strings, replies read as they
# come. Several commands may be sent before their replies are read (a pipeline). It encodes a command with one format and reads
# a string with one gets and one read, so most of an operation is the way to the server and back.

namespace eval redis {}

proc redis::open {port} {
    set channel [socket 127.0.0.1 $port]
    fconfigure $channel -translation binary -buffering full -buffersize 65536
    return $channel
}

proc redis::send {channel args} {
    set text *[llength $args]\r\n
    foreach word $args {append text \$ [string length $word] \r\n $word \r\n}
    puts -nonewline $channel $text
}

proc redis::receive {channel} {
    set line [string trimright [gets $channel] \r]
    set rest [string range $line 1 end]
    switch -- [string index $line 0] {
        \$ {
            if {$rest < 0} {return {}}
            set value [read $channel $rest]
            read $channel 2
            return $value
        }
        * {
            set values {}
            for {set left $rest} {$left > 0} {incr left -1} {lappend values [receive $channel]}
            return $values
        }
        : - + {return $rest}
        default {error "redis: $line"}
    }
}

# One command and its reply.
proc redis::call {channel args} {
    send $channel {*}$args
    flush $channel
    receive $channel
}
