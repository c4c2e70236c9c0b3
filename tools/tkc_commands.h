/* tkc_commands.h: the commands of tkc, one file each. A command gets the arguments after its name
 * and returns the exit status. */
#ifndef TKC_TOOLS_TKC_COMMANDS_H
#define TKC_TOOLS_TKC_COMMANDS_H

#include "tools/tkc_cli.h"

ExitStatus command_compile(int count, char **arguments); /* tkc FILE ... */
ExitStatus command_run(int count, char **arguments);
ExitStatus command_check(int count, char **arguments);
ExitStatus command_devices(int count, char **arguments);
ExitStatus command_emu(int count, char **arguments);

extern const Option compile_options[], run_options[], check_options[], devices_options[],
    emu_options[];

#endif
