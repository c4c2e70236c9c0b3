/* tkc.c: the command line of the compiler. This file picks the command and holds the help texts;
 * each command is a file of its own. */
#include "tools/tkc_commands.h"

#include <unistd.h>

typedef struct Command {
    const char *name;
    ExitStatus (*run)(int count, char **arguments);
    const Option *options;
    const char *about, *usage, *text, *examples;
} Command;

static ExitStatus command_help(int count, char **arguments);
static const Option no_options[] = {{0}};

static const char compile_text[] =
    "Reads Triton kernels (.tk, .py) or IR text (.tkir) and prints what they become. Without -n,\n"
    "every kernel whose parameters all have a type is compiled.\n\n"
    "The types of a kernel's parameters come from its annotations (x: \"*fp32:16\"), or in order\n"
    "from -s, as in Triton's own ahead-of-time tool: \"*fp16:16, i32, fp32, 128\" (`:16`: "
    "divisible\n"
    "by 16; a literal is a compile-time value). -D fixes a parameter at compile time, also one "
    "that\n"
    "is no tl.constexpr. Its value is an expression of the language (128, 64*2, True, fp16); a "
    "bare\n"
    "word (tf32) is a string.\n";
static const char compile_examples[] =
    "  tkc kernels/vector_add.tk --emit=ir\n"
    "  tkc add.py -n add_kernel -s '*fp32:16, *fp32:16, *fp32:16, i32, 1024'\n"
    "  tkc kernels/softmax.tk --dump-after=all --time-passes -o softmax/\n";
static const char run_text[] =
    "Compiles one kernel, gives it the arguments NAME=VALUE, runs it over the grid, saves what -o\n"
    "asks for, and prints the time. `::KERNEL` may be left out when the file has one kernel.\n\n"
    "A VALUE is one of\n"
    "  1024  0.5  true  none  1e-5    a number; its type is the parameter's, or i32, i64, f32\n"
    "  100:i64                        the same with its type fixed\n"
    "  f16  tf32                      for compile-time parameters: a dtype, a string, any\n"
    "                                 expression of the language\n"
    "  @file.npy  @file.npy:bf16      a tensor from a file, converted if a dtype is given\n"
    "  zeros:f32[128,64]  ones:...    a tensor of that type and shape, filled with 0 or 1\n"
    "  full(2.5):f32[128]             ... with one value\n"
    "  arange:i32[100]                ... with 0, 1, 2 ...; arange(5,2): 5, 7, 9 ...\n"
    "  rand:f32[128]                  ... uniform in [0, 1); rand(-1,1): in [-1, 1); integers are\n"
    "                                 uniform in 0..99 unless rand(low,high) says otherwise\n"
    "  randn:f16[128]                 ... normal; randn(mean,deviation)\n"
    "  poison:f32[128]                ... not written yet: reading it before the kernel has\n"
    "                                 written it is a fault\n"
    "Dtypes: i1 i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 f8e4m3 f8e5m2, also as fp16, "
    "float32.\n"
    "Random values depend on --seed, the argument's name and the position, on nothing else.\n";
static const char run_examples[] =
    "  tkc run kernels/vector_add.tk::vector_add --grid 98 x=randn:f32[100000] \\\n"
    "      y=randn:f32[100000] out=poison:f32[100000] n=100000 BLOCK=1024 -o out=out.npy\n";
static const char check_text[] =
    "Checks every jit function of every file, as far as that is possible without knowing types:\n"
    "syntax, names, builtins and their arguments. A folder stands for all .tk and .py files in "
    "it.\n"
    "One line a function; the last line counts them.\n";
static const char check_examples[] = "  tkc check kernels\n";
static const char emu_text[] =
    "Runs an entry of a PTX file, by whatever compiler, on the emulator with all checks on. There\n"
    "is one NAME=VALUE for each parameter, in order (the names are yours, for messages and -o);\n"
    "`tkc help run` says what a VALUE can be. Numbers get the size of their parameter. For\n"
    "kernels saved by tkc, and where the file says .reqntid, --block may be left out.\n";
static const char emu_examples[] =
    "  tkc emu add.ptx::add --grid 98 --block 256 x=randn:f32[25000] y=zeros:f32[25000] \\\n"
    "      n=25000 -o y=y.npy --counters\n";
static const char devices_examples[] = "  tkc devices\n";

static const Command commands[] = {
    {"compile", command_compile, compile_options, "compile kernels and print any stage",
     "tkc FILE [-n KERNEL]... [-s SIGNATURE] [-D NAME=VALUE]... [--emit=KIND] [-o PATH]",
     compile_text, compile_examples},
    {"run", command_run, run_options, "run one kernel on a device",
     "tkc run FILE[::KERNEL] --grid X[,Y[,Z]] NAME=VALUE... [-o NAME=FILE.npy]...", run_text,
     run_examples},
    {"check", command_check, check_options, "check all kernels of files and folders",
     "tkc check FILE|FOLDER...", check_text, check_examples},
    {"emu", command_emu, emu_options, "run any PTX on the emulator",
     "tkc emu FILE.ptx[::ENTRY] --grid X[,Y[,Z]] [--block X[,Y[,Z]]] NAME=VALUE...", emu_text,
     emu_examples},
    {"devices", command_devices, devices_options, "list the devices of this machine", "tkc devices",
     "", devices_examples},
    {"help", command_help, no_options, "explain a command", "tkc help [COMMAND]", "", ""},
};

static const Command *find_command(const char *name) {
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static void print_overview(void) {
    printf("tkc compiles Triton kernels for C programs, without Python, and runs them.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        printf("  %-8s  %s\n            %s\n", commands[i].name, commands[i].about,
               commands[i].usage);
    printf("\nExamples:\n%s%s%s\n`tkc help run` says more about running, `tkc help compile` about "
           "compiling.\nExit status: 0 done, 1 the input was refused, 2 wrong usage, 3 no such "
           "device, 4 a run-time\nfault (out of bounds, assertion, race).\n",
           "  tkc kernels/vector_add.tk --emit=ir\n", run_examples, check_examples);
}

static void print_command(const Command *command) {
    printf("usage: %s\n", command->usage);
    if (command->text[0]) printf("\n%s", command->text);
    if (command->options[0].name) printf("\nOptions:\n");
    options_help(command->options);
    if (command->examples[0]) printf("\nExamples:\n%s", command->examples);
}

static ExitStatus command_help(int count, char **arguments) {
    const char *names[ARRAY_LENGTH(commands)];
    if (count == 0) return print_overview(), STATUS_DONE;
    const Command *command = find_command(arguments[0]);
    if (command) return print_command(command), STATUS_DONE;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) names[i] = commands[i].name;
    const char *near = nearest_name(arguments[0], names, ARRAY_LENGTH(commands));
    tool_error("there is no command `%s`; did you mean `%s`?", arguments[0], near ? near : "run");
    return STATUS_USAGE;
}

/* A word that is no file but nearly a command. */
static bool is_misspelt(const char *word) {
    const char *names[ARRAY_LENGTH(commands)];
    if (word[0] == '-' || strpbrk(word, "./") || access(word, F_OK) == 0) return false;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) names[i] = commands[i].name;
    const char *near = nearest_name(word, names, ARRAY_LENGTH(commands));
    if (near) tool_error("there is no command or file `%s`; did you mean `tkc %s`?", word, near);
    return near != NULL;
}

static bool wants_help(int count, char **arguments) {
    for (int i = 0; i < count && strcmp(arguments[i], "--") != 0; i++)
        if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) return true;
    return false;
}

int main(int count, char **arguments) {
    tool_start("tkc");
    if (count < 2) {
        tool_error("nothing to do; `tkc --help` says what there is");
        return STATUS_USAGE;
    }
    const char *first = arguments[1];
    if (strcmp(first, "--version") == 0) {
        printf("tkc %d.%d.%d\n", TKC_VERSION_MAJOR, TKC_VERSION_MINOR, TKC_VERSION_PATCH);
        return STATUS_DONE;
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
        return command_help(count - 2, arguments + 2);
    const Command *command = find_command(first);
    if (!command && is_misspelt(first)) return STATUS_USAGE;
    int skipped = command ? 2 : 1;
    if (!command) command = find_command("compile");
    if (wants_help(count - skipped, arguments + skipped))
        return print_command(command), STATUS_DONE;
    ExitStatus status = command->run(count - skipped, arguments + skipped);
    if (fflush(stdout) != 0 && status == STATUS_DONE) status = STATUS_REFUSED;
    return status;
}
