#!/usr/bin/env tclsh
# An order book: three processes trade with each other. Each order is one transaction, which takes the best orders of the other
# side as far as prices meet, and leaves what remains in the book.
#
#   tclsh order_book.tcl ?directory?

source [file join [file dirname [file normalize [info script]]] place.tcl]

set traders 3
set orders_each 200

proc define_tables {} {
    aerostore::define Orders {
        {string trader -notnull}
        {string side -notnull -length 4}
        {int price -notnull -index ordered}
        {int quantity -notnull}
    }
    aerostore::define Trades {
        {string buyer -notnull}
        {string seller -notnull}
        {int price -notnull}
        {int quantity -notnull}
    }
}

# Places an order; the number of trades it led to. The script of the transaction is run again when another process was quicker, so it begins
# by setting all variables that it changes.
proc place {trader side price quantity} {
    aerostore::transaction {
        set left $quantity
        set trades 0
        while {$left > 0} {
            if {$side eq "buy"} {
                set others [Orders search -compare [list {= side sell} [list <= price $price]]\
                    -sort {price _key} -limit 1 -columns {_key trader price quantity} -lists 1]
            } else {
                set others [Orders search -compare [list {= side buy} [list >= price $price]]\
                    -sort {-price _key} -limit 1 -columns {_key trader price quantity} -lists 1]
            }
            if {[llength $others] == 0} {
                break
            }
            lassign [lindex $others 0] key other agreed offered
            set taken [expr {min($left, $offered)}]
            if {$taken == $offered} {
                Orders delete $key
            } else {
                Orders incr $key quantity [expr {-$taken}]
            }
            if {$side eq "buy"} {
                Trades store buyer $trader seller $other price $agreed quantity $taken
            } else {
                Trades store buyer $other seller $trader price $agreed quantity $taken
            }
            incr left [expr {-$taken}]
            incr trades
        }
        if {$left > 0} {
            Orders store trader $trader side $side price $price quantity $left
        }
        set trades
    }
}

# A trader: places orders at random prices around 100.
proc process {name} {
    expr {srand([string length $name] + [scan [string index $name end] %c])}
    set placed 0
    for {set i 0} {$i < $::orders_each} {incr i} {
        set side [expr {rand() < 0.5 ? "buy" : "sell"}]
        set quantity [expr {1 + int(rand() * 9)}]
        place $name $side [expr {90 + int(rand() * 21)}] $quantity
        incr placed [expr {$side eq "buy" ? $quantity : -$quantity}]
    }
    puts $placed
}

# The sum of a column over the rows that fit.
proc sum {table column args} {
    set sum 0
    $table search {*}$args -columns $column -get row -code {
        incr sum [lindex $row 0]
    }
    return $sum
}

proc main {} {
    define_tables
    set channels [lmap n [list 1 2 3] {start trader$n}]
    # Bought less sold, as the traders count it.
    set placed 0
    foreach channel $channels {
        incr placed [gets $channel]
        close $channel
    }
    puts "orders placed:        [expr {$::traders * $::orders_each}]"
    set open_buys [sum Orders quantity -compare {{= side buy}}]
    set open_sells [sum Orders quantity -compare {{= side sell}}]
    puts "nothing lost:         [expr {$open_buys - $open_sells == $placed ? "yes" : "no"}]"
    set best_buy [lindex [Orders search -compare {{= side buy}} -sort -price -limit 1 -columns price -lists 1] 0]
    set best_sell [lindex [Orders search -compare {{= side sell}} -sort price -limit 1 -columns price -lists 1] 0]
    puts "prices left meet:     [expr {$best_buy ne "" && $best_sell ne "" && $best_buy >= $best_sell ? "yes" : "no"}]"
    puts "trades made:          [expr {[Trades count] > 0 ? "yes" : "no"}]"
    aerostore::drop Orders
    aerostore::drop Trades
}

example
