# What an error may look like: its errorCode begins with AEROSTORE and a kind that a caller can cause, or is Tcl's own, of those below.

namespace eval oracle {
    # Kinds of the package's own errors. INTERNAL and CORRUPT are not among them: nothing here may cause one.
    variable kinds {SYNTAX TYPE PARSE CLOSED BUSY CONFIG NOT_FOUND DUPLICATE MISMATCH SERIALIZATION TRANSACTION REVOKED SPACE IO READ_ONLY DENIED}
    # What Tcl itself has against scripts, variables, channels and commands: patterns of a code and a message. FUZZ are those thrown by scripts.
    variable own {
        {FUZZ *} *
        {TCL LOOKUP COMMAND *} {invalid command name *}
        {TCL LOOKUP SUBCOMMAND *} {unknown or ambiguous subcommand *}
        {TCL LOOKUP *} *
        {TCL READ VARNAME} *
        {TCL WRITE VARNAME} *
        {TCL TAILCALL ILLEGAL} *
        {TCL COROUTINE *} *
        {TCL RESULT UNEXPECTED} {invoked * outside of a loop}
        {TCL UNEXPECTED_RESULT_CODE *} {command returned bad code: *}
        {TCL UNEXPECTED_RESULT_CODE *} {invoked * outside of a loop}
        {TCL VALUE VARNAME} {can't set *}
        {TCL OPERATION INTERP ALIASLOOP} *
        {TCL OPERATION RENAME *} {can't rename to *}
        {TCL IDELETE *} {attempt to call eval in deleted interpreter}
        {TCL LIMIT COMMANDS} {command count limit exceeded}
        {TCL LIMIT STACK} {too many nested evaluations*}
        {TCL VALUE INTEGER} {expected integer but got *}
        {TCL WRONGARGS} {wrong # args: should be *}
        NONE {missing close-*}
        NONE {missing "*}
        NONE {extra characters after close-*}
        NONE {self-referential recursion in "unknown" for command *}
    }
}

# What is wrong with the code and message of an error; empty when nothing is.
proc oracle::fault {code message} {
    variable kinds
    variable own
    if {[string match {*internal error*} $message] || [string match {*panic at *} $message]} {
        return "an internal error"
    }
    if {[lindex $code 0] eq "AEROSTORE"} {
        if {$message eq {}} {return "an error without a message"}
        return [expr {[lindex $code 1] in $kinds ? {} : "an error of a kind that nothing here can cause"}]
    }
    foreach {code_pattern message_pattern} $own {
        if {[string match $code_pattern $code] && [string match $message_pattern $message]} {return}
    }
    return "an errorCode that is neither the package's nor known to be Tcl's own"
}
