// The same as multibot.cjs, for `import`; copy both files beside your bot.

import multibot from "./multibot.cjs";

export const { Client, Message, MultibotError, NotPosted } = multibot;
export default multibot;
