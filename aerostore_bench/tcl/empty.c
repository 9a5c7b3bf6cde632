/* A command that does nothing, whatever its words: what Tcl itself takes to call C. */
#include <tcl.h>

static int Empty(ClientData data, Tcl_Interp *interp, int count, Tcl_Obj *const words[]) {
    (void)data;
    (void)interp;
    (void)count;
    (void)words;
    return TCL_OK;
}

int Empty_Init(Tcl_Interp *interp) {
    if (Tcl_InitStubs(interp, "8.6", 0) == NULL) {
        return TCL_ERROR;
    }
    Tcl_CreateObjCommand(interp, "empty", Empty, NULL, NULL);
    return TCL_OK;
}
