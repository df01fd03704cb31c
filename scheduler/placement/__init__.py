"""Where workers run: `local` spawns and supervises them on this machine."""
