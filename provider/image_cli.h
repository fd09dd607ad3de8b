/* `unikubelet image`: the node's image store by hand, whether the agent runs or not. */
#pragma once

#define IMAGE_CLI_COMMAND "image"

/* The whole program, when argv[1] is IMAGE_CLI_COMMAND. Returns the exit status. */
int image_cli_main(int argc, char **argv);
