"""Sentence material for the quickstart pretraining text: slots, fact sentences, questions and story parts.

A template holds slots in braces. `{mood}` draws a fresh word, `{name1}` draws a name and keeps it for the passage,
`{he1}`, `{him1}` and `{his1}` are that person's pronouns, and `{animal1.food}` reads a column of a kept table row.
This module only holds material: it draws nothing and never speaks in the chat form the fine-tuning will teach.
"""

from quickstart_words import words

Question = tuple[str, str]
Frame = list[list[str]]


def lines(text: str) -> list[str]:
    """Read a list with one entry on each line."""
    return [line.strip() for line in text.strip().splitlines()]


def frame(text: str) -> Frame:
    """Read a passage told in beats: empty lines separate the beats, and each line of a beat is one way to tell it."""
    return [lines(beat) for beat in text.strip().split("\n\n")]


NAMES = {
    "she": words("Anna, Lena, Rosa, Emma, Clara, Nina, Ida, Sara, Lucy, Maya, Julia, Ella, Grace, Helen, Ruth, Vera"),
    "he": words("Ben, Tom, Leo, Max, Paul, Oscar, Adam, Sam, Jack, Peter, Felix, Hugo, David, Noah, Martin, Karl"),
}

SLOTS = {
    "mood": words(
        "happy, tired, calm, proud, nervous, curious, hopeful, sad, cheerful, quiet, excited, worried, lonely"
    ),
    "time": words("""one morning, one evening, on a cold day, last summer, on Sunday, in spring, after school,
        one night, yesterday, before breakfast, on a rainy day, early in the morning, late in the afternoon,
        on Saturday"""),
    "size": words("small, big, tiny, little, large, huge, round, long"),
    "look": words("old, new, bright, soft, warm, quiet, broken, clean, strange, pretty, plain, heavy, golden, simple"),
    "tone": words("red, blue, green, yellow, white, brown, black, grey, orange, purple"),
    "object": words("""book, box, letter, hat, cup, chair, bag, ball, picture, coat, lamp, clock, kite, basket, bicycle,
        drum, boat, ring, toy, key, blanket, map, watch, mirror, candle, flute"""),
    "spot": words("""under the table, by the window, behind the door, on the shelf, in the garden, near the bridge,
        beside the bed, in the kitchen, at the market, on the stairs, by the river, at the station, in the old barn,
        under a tree, next to the stove, at school, in the attic, on the bench"""),
    "kin": words("""mother, father, sister, brother, grandmother, grandfather, aunt, uncle, teacher, neighbour,
        friend, cousin"""),
    "food": words("""soup, bread, apples, cheese, pancakes, tea, honey, rice, cake, pears, warm milk, potatoes, cookies,
        an omelette, a sandwich, berries, toast and butter, tomato soup"""),
    "sound": words("""a soft song, the rain, a small bell, the wind, a bird, a train far away, someone laughing,
        the church bells, a quiet voice, a knock at the door, children playing, an old clock"""),
    "act": words("""sing, dance, cook, draw, read, swim, run, paint, sleep, dream, laugh, walk by the river,
        write letters, plant flowers, play chess, bake bread, ride a bicycle, climb trees, listen to music,
        fly a kite"""),
    "past": words("""walked home, sat down, opened the window, laughed, made tea, closed the book, looked at the sky,
        picked up the basket, put on a coat, lit a candle, waited, ran outside, washed the cups, smiled,
        took a deep breath, wrote a short letter, called a friend, cut some bread, fed the cat, sat by the fire"""),
    "number": words("two, three, four, five, six, seven, eight, nine, ten, twelve, twenty"),
    "things": words("""apples, books, birds, stones, boats, letters, flowers, cups, coins, clouds, chairs, children,
        stars, eggs, buttons, trees"""),
    "weather": words("""the sun was shining, it was raining, the wind was strong, snow was falling, the sky was grey,
        the air was warm, fog lay over the fields, the stars were out, it was cold, the clouds were low"""),
    "good": words("kind, brave, honest, patient, clever, gentle, careful, funny, friendly, generous"),
    "goodthing": words("""a kind word, a warm meal, a good friend, a long sleep, a walk in the forest, an honest answer,
        a little patience, a quiet hour, a good book, fresh air, a cup of tea, a short rest, a simple song"""),
    "truth": words("""small steps go far, nobody has to do everything alone, kind words cost nothing,
        it is never too late to begin, every day brings something new, a friend can make a hard day easy,
        good things need time, it is fine to ask for help, sharing makes everything taste better,
        even a small light helps in the dark, mistakes are good teachers, listening is a kind of love"""),
    "subject": words("history, music, maths, art, science, reading, sport, languages"),
    "day": words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "ask": lines("""
        Do you like it?
        What do you think?
        Would you like to hear more?
        What do you like best?
        Will you try it today?
        How does that sound to you?
        Do you want to tell me more?"""),
    "noun": words("patience, friendship, music, sleep, courage, kindness, silence, laughter, hope, work, home, memory"),
}

FACTS = {
    "animal": lines("""
        {animal1.many} live {animal1.place}.
        {animal1.many} eat {animal1.food}.
        a {animal1.one} has {animal1.body}.
        {animal1.many} {animal1.habit}.
        most {animal1.many} like to eat {animal1.food}.
        you can find {animal1.many} {animal1.place}.
        many people like {animal1.many} because they {animal1.habit}.
        {name1} drew a picture of {animal1.many} with {animal1.body}.
        "look, {animal1.many}!" said {name1}. "They {animal1.habit}."
        {name2} likes {animal1.many} more than any other animal.
        if you are quiet, you may see how {animal1.many} {animal1.habit}.
        {name1} gave the {animal1.many} {animal1.food}, because that is what they eat."""),
    "dish": lines("""
        to make {dish1.dish}, {dish1.steps}.
        for {dish1.dish} you need {dish1.parts}.
        many people like {dish1.dish} with {dish1.side}.
        {name1} likes {dish1.dish} with {dish1.side}.
        {name1} bought {dish1.parts} and made {dish1.dish} for the family.
        "first you need {dish1.parts}," said {name2}. "Then you {dish1.steps}."
        on {day} {name1} makes {dish1.dish} for {his1} friends.
        the kitchen smells wonderful when {name1} makes {dish1.dish}.
        it is easy to make {dish1.dish}: {dish1.steps}.
        we ate {dish1.dish} with {dish1.side} and talked for a long time."""),
    "feeling": lines("""
        many people feel {feeling1.feeling} {feeling1.time}.
        when you feel {feeling1.feeling}, it helps to {feeling1.advice}.
        {name1} felt {feeling1.feeling} {feeling1.time}.
        if you are {feeling1.feeling}, {feeling1.advice}.
        everyone feels {feeling1.feeling} sometimes.
        "I feel {feeling1.feeling}," said {name1}. "Then {feeling1.advice}," said {his1} {kin}.
        {feeling1.advice} when you feel {feeling1.feeling}.
        it is normal to feel {feeling1.feeling} {feeling1.time}.
        {name2} could see that {name1} was {feeling1.feeling}, and asked {him1} about it."""),
    "goal": lines("""
        to {goal1.goal}, {goal1.advice}.
        if you want to {goal1.goal}, {goal1.advice}, because {goal1.reason}.
        {goal1.reason}.
        {name1} wanted to {goal1.goal}.
        "how can I {goal1.goal}?" asked {name1}. "{goal1.advice}," said {name2}.
        the best way to {goal1.goal} is simple: {goal1.advice}.
        after some weeks it was easy for {name1} to {goal1.goal}.
        many people try to {goal1.goal}, and they know that {goal1.reason}.
        it is not hard to {goal1.goal} when you begin with small steps."""),
    "place": lines("""
        {place1.there} you can see {place1.sight}.
        you can go to {place1.place} {place1.way}.
        {place1.there} people {place1.act}.
        {name1} went to {place1.place} {place1.way} to {place1.act}.
        {name1} loves {place1.place} because of {place1.sight}.
        "let us go to {place1.place}," said {name1}. "We can {place1.act}."
        a day {place1.there} makes everyone {mood}.
        we went to {place1.place} {place1.way} and saw {place1.sight}.
        there is nothing better than to {place1.act} on a free day {place1.there}."""),
    "plant": lines("""
        {plant1.plant} grow well {plant1.spot}.
        to grow {plant1.plant}, plant them {plant1.spot} and {plant1.care}.
        {plant1.plant} are ready {plant1.season}.
        {name1} has {plant1.plant} {plant1.spot}.
        if you want fine {plant1.plant}, {plant1.care}.
        "when are the {plant1.plant} ready?" asked {name2}. "{plant1.season}," said {name1}.
        {name1} showed {name2} the {plant1.plant} in the garden.
        a gardener with {plant1.plant} must remember one thing: {plant1.care}."""),
    "weather": lines("""
        {weather1.kind} brings {weather1.look}.
        for {weather1.kind} you should wear {weather1.wear}.
        when there is {weather1.kind}, people {weather1.act}.
        {name1} likes {weather1.kind} because then {he1} can {weather1.act}.
        there was {weather1.kind} all day, with {weather1.look}.
        on a day with {weather1.kind} it is nice to {weather1.act}.
        {name2} put on {weather1.wear}, because there was {weather1.kind} outside."""),
    "job": lines("""
        a {job1.job} {job1.work}.
        a {job1.job} needs {job1.need}.
        {name1} is a {job1.job} and {job1.work}.
        "I want to be a {job1.job}," said {name1}. "A {job1.job} {job1.work}."
        every good {job1.job} has {job1.need}.
        the work of a {job1.job} is not easy.
        {name2} met a {job1.job} {spot} and asked many questions about the work."""),
    "thing": lines("""
        {thing1.thing} {thing1.use}.
        {name1} needs {thing1.thing}, because {thing1.thing} {thing1.use}.
        "what is {thing1.thing} for?" asked {name1}. "It {thing1.use}," said {his1} {kin}.
        every house should have {thing1.thing}.
        {name2} bought {thing1.thing} at the market for {number} coins."""),
    "colour": lines("""
        {colour1.thing} is {colour1.colour}.
        {name1} painted with {colour1.colour}, because {colour1.thing} is {colour1.colour}.
        the colour of {colour1.thing} is {colour1.colour}.
        "is {colour1.thing} {colour1.colour}?" asked {name1}. "Yes, it is {colour1.colour}," said {name2}.
        {name1} has a {colour1.colour} {object}, and {colour1.thing} is {colour1.colour} too."""),
    "hobby": lines("""
        {name1} loves {hobby1.hobby}.
        to begin with {hobby1.hobby}, {hobby1.start}.
        {hobby1.hobby} is a fine hobby, because {hobby1.joy}.
        with {hobby1.hobby}, {hobby1.joy}.
        "is {hobby1.hobby} hard?" asked {name2}. "No," said {name1}. "Just {hobby1.start}."
        {name1} started {hobby1.hobby} {time} and never stopped.
        "why do you like {hobby1.hobby}?" asked {name2}. "Because {hobby1.joy}," said {name1}."""),
}

QUESTIONS: dict[str, list[Question]] = {
    "animal": [
        ("what do {animal1.many} eat?", "{animal1.many} eat {animal1.food}."),
        ("where do {animal1.many} live?", "{animal1.many} live {animal1.place}."),
        ("what does a {animal1.one} look like?", "a {animal1.one} has {animal1.body}."),
        ("what do {animal1.many} do?", "{animal1.many} {animal1.habit}."),
    ],
    "dish": [
        ("how do I make {dish1.dish}?", "to make {dish1.dish}, {dish1.steps}."),
        ("what do I need for {dish1.dish}?", "for {dish1.dish} you need {dish1.parts}."),
        ("what goes well with {dish1.dish}?", "try {dish1.dish} with {dish1.side}."),
    ],
    "feeling": [
        (
            "what helps when I feel {feeling1.feeling}?",
            "when you feel {feeling1.feeling}, it helps to {feeling1.advice}.",
        ),
        ("what should I do when I am {feeling1.feeling}?", "if you are {feeling1.feeling}, {feeling1.advice}."),
    ],
    "goal": [
        ("how can I {goal1.goal}?", "to {goal1.goal}, {goal1.advice}."),
        ("what helps me to {goal1.goal}?", "if you want to {goal1.goal}, {goal1.advice}, because {goal1.reason}."),
    ],
    "place": [
        ("what can I see {place1.there}?", "{place1.there} you can see {place1.sight}."),
        ("how do I get to {place1.place}?", "you can go to {place1.place} {place1.way}."),
        ("what can I do {place1.there}?", "{place1.there} you can {place1.act}."),
    ],
    "plant": [
        ("how do I grow {plant1.plant}?", "to grow {plant1.plant}, plant them {plant1.spot} and {plant1.care}."),
        ("when are {plant1.plant} ready?", "{plant1.plant} are ready {plant1.season}."),
        ("where do {plant1.plant} grow well?", "{plant1.plant} grow well {plant1.spot}."),
    ],
    "weather": [
        ("what should I wear for {weather1.kind}?", "for {weather1.kind} you should wear {weather1.wear}."),
        ("what can I do when there is {weather1.kind}?", "when there is {weather1.kind}, you can {weather1.act}."),
    ],
    "job": [
        ("what does a {job1.job} do?", "a {job1.job} {job1.work}."),
        ("what does a {job1.job} need?", "a {job1.job} needs {job1.need}."),
    ],
    "thing": [
        ("what is {thing1.thing} for?", "{thing1.thing} {thing1.use}."),
        ("why do people need {thing1.thing}?", "people need {thing1.thing}, because it {thing1.use}."),
    ],
    "colour": [("what colour is {colour1.thing}?", "{colour1.thing} is {colour1.colour}.")],
    "hobby": [
        ("how do I begin with {hobby1.hobby}?", "to begin with {hobby1.hobby}, {hobby1.start}."),
        ("why should I try {hobby1.hobby}?", "with {hobby1.hobby}, {hobby1.joy}."),
    ],
}
