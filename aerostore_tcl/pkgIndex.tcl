# Tells Tcl where the package's library is. Goes into one folder of auto_path, together with libaerostore_tcl.so.
if {![package vsatisfies [package provide Tcl] 8.6-9]} return
package ifneeded aerostore 0.1.0 [list load [file join $dir libaerostore_tcl.so] Aerostore]
