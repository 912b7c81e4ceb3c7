// The bot of the contract tests, for a client that is imported.

import { Client } from "./multibot.mjs";
import { play } from "./bot.cjs";

await play({ Client });
